"""What holds for every page: nothing is kept in a cache, and the frame's form depends on who asks."""

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from console.errors import not_allowed


class FrameMiddleware(MiddlewareMixin):
    """A page shows what one user may see now: a browser must not show it again after signing out."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponseNotAllowed):  # which Django leaves empty
            response.content = not_allowed(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Cache-Control", "no-store")
            patch_vary_headers(response, ["HX-Request"])
        return response
