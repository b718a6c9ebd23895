"""Every URL's room: pages in console, endpoints in api."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("api.urls")),
    path("", include("console.urls")),
]
