"""Which view answers which path."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.home),
    path("connection", views.connection),
    path("form", views.form),
    path("guests", views.guests),
    path("visits", views.visits),
    path("json", views.echo_json),
    path("upload", views.upload),
    path("raw", views.raw),
    path("stream", views.stream),
    path("download", views.download),
    path("redirect", views.to_home),
    path("cookies/set", views.set_cookies),
    path("cookies", views.show_cookies),
    path("error", views.error),
]

handler404 = views.not_found
handler500 = views.failed
