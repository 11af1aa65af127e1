"""The views. POSTs need Django's CSRF token: `form` hands one out, as cookie and as field."""

# mypy: disallow-untyped-decorators=False

import hashlib
import json
from collections.abc import Iterator

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST, require_safe

from .models import Guest


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello from Django\n", content_type="text/plain; charset=utf-8")


@require_GET
def connection(request: HttpRequest) -> HttpResponse:
    """The same port twice means that one connection carried both requests."""
    return JsonResponse({"remote_port": request.META["REMOTE_PORT"]})


def form(request: HttpRequest) -> HttpResponse:
    """GET shows the form, POST stores what was entered and gives it back."""
    if request.method != "POST":
        return render(request, "form.html")
    guest = Guest.objects.create(name=request.POST["name"], city=request.POST["city"])
    return JsonResponse({"name": guest.name, "city": guest.city})


@require_GET
def guests(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"guests": [str(guest) for guest in Guest.objects.order_by("id")]})


@require_GET
def visits(request: HttpRequest) -> HttpResponse:
    """Counts in the session, which lives in the database."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


@require_POST
def echo_json(request: HttpRequest) -> HttpResponse:
    return JsonResponse(json.loads(request.body))


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    sha256 = hashlib.sha256()
    for block in file.chunks():
        sha256.update(block)
    return JsonResponse({"filename": file.name, "size": file.size, "sha256": sha256.hexdigest()})


@require_POST
def raw(request: HttpRequest) -> HttpResponse:
    """Any body, as the server gives it.

    `request.body` is empty for a chunked one, since Django reads CONTENT_LENGTH bytes and there is
    none; the server's wsgi.input ends where the body ends.
    """
    sha256 = hashlib.sha256()
    size = 0
    while block := request.META["wsgi.input"].read(65536):
        sha256.update(block)
        size += len(block)
    return JsonResponse({"size": size, "sha256": sha256.hexdigest()})


@require_GET
def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain; charset=utf-8")


@require_GET
def download(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"), content_type="text/x-python")


@require_GET
def to_home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/")


@require_GET
def set_cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("two cookies\n", content_type="text/plain")
    response.set_cookie("fruit", "apple")
    response.set_cookie("colour", "green")
    return response


@require_GET
def show_cookies(request: HttpRequest) -> HttpResponse:
    return JsonResponse(request.COOKIES)


@require_GET
def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("raised on purpose")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("<h1>No such page</h1>\n", status=404)


def failed(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>Something went wrong</h1>\n", status=500)
