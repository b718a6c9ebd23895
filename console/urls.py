"""The pages."""

from django.urls import path

from console.health import healthz

urlpatterns = [path("healthz", healthz, name="healthz")]
