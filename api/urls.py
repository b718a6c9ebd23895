"""The endpoints of /api/v1/."""

from django.urls.resolvers import URLPattern

urlpatterns: list[URLPattern] = []
