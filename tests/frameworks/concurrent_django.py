"""A Django app over sqlite, whose connections belong to the thread that opened them; runs in the
server. sqlite3 refuses a connection to any other thread."""

import os
import select
import threading
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

ROWS = 40

settings.configure(
    SECRET_KEY="of no use",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DJANGO_DATABASE"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {"timeout": 30},
        }
    },
)
django.setup()

from django.db import connection  # noqa: E402 - needs the settings


def rows(_request: HttpRequest) -> StreamingHttpResponse:
    """A query whose rows are fetched while the response is sent."""
    cursor = connection.cursor()
    cursor.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
        " SELECT i FROM n"
    )

    def lines() -> Iterator[str]:
        while row := cursor.fetchone():
            if row[0] % 10 == 0:
                select.select([], [], [], 0.001)
            yield f"{row[0]}\n"
        cursor.close()

    return StreamingHttpResponse(lines(), content_type="text/plain")


def add(_request: HttpRequest) -> HttpResponse:
    """Count up in the database, and say on which thread."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE counter SET value = value + 1")
    return HttpResponse(str(threading.get_ident()), content_type="text/plain")


def count(_request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM counter")
        return HttpResponse(str(cursor.fetchone()[0]), content_type="text/plain")


urlpatterns = [path("rows", rows), path("add", add), path("count", count)]

with connection.cursor() as first:
    first.execute("CREATE TABLE IF NOT EXISTS counter (value INTEGER)")
    first.execute("DELETE FROM counter")
    first.execute("INSERT INTO counter VALUES (0)")
connection.close()

app = get_wsgi_application()
