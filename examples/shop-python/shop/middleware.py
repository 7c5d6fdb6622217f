"""Headers of every page, and the page for when Twinlock gives no verdict."""

import logging

from django.shortcuts import render
from twinlock import ElevationRequiredError, TwinlockError

# Nothing but the shop's own files, no script or style within a page, and images from `data:` for the QR code.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def headers(get_response):
    def answer(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        # Secrets and keys are on some of the pages, and the back button must not show those of who logged out.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer


class Unavailable:
    """Answers what a view did not catch: nobody passes, and the user is told a sentence."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, error):
        if isinstance(error, ElevationRequiredError):
            return render(request, "403.html", status=403)
        if not isinstance(error, TwinlockError):
            return None
        logging.getLogger(__name__).error("no verdict: %s %s", error.reason, error)
        return render(request, "503.html", status=503)
