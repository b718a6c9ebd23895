"""Whether this web process serves pages."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})
