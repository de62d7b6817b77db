"""What authentication and authorization count. Rows and their binding.

Names, labels and buckets are those of k8s.io/apiserver v1.36.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import Counter, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

AUTHENTICATED_USER_REQUESTS: Final = Counter(
    "authenticated_user_requests", "Authenticated requests, by a few well-known user names.", ("username",)
)
AUTHENTICATION_ATTEMPTS: Final = Counter("authentication_attempts", "Attempts to authenticate, by result.", ("result",))
AUTHENTICATION_DURATION_SECONDS: Final = Histogram(
    "authentication_duration_seconds",
    "Seconds to authenticate, by result.",
    ("result",),
    buckets=exponential(0.001, 2, 15),
)
CLIENT_CERTIFICATE_EXPIRATION_SECONDS: Final = Histogram(
    "apiserver_client_certificate_expiration_seconds",
    "Remaining lifetime of the client certificates presented.",
    buckets=(0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000),
)


class AuthenticationMetrics:
    """Observed at each pass through the authentication filter."""

    def __init__(self, registry: Registry) -> None:
        self.authenticated_user_requests = registry.bind(AUTHENTICATED_USER_REQUESTS)
        self.authentication_attempts = registry.bind(AUTHENTICATION_ATTEMPTS)
        self.authentication_duration_seconds = registry.bind(AUTHENTICATION_DURATION_SECONDS)
        self.client_certificate_expiration_seconds = registry.bind(CLIENT_CERTIFICATE_EXPIRATION_SECONDS)


AUTHENTICATION_TOKEN_CACHE_REQUEST_TOTAL: Final = Counter(
    "authentication_token_cache_request_total", "Token lookups, by whether the cache knew the answer.", ("status",)
)
AUTHENTICATION_TOKEN_CACHE_REQUEST_DURATION_SECONDS: Final = Histogram(
    "authentication_token_cache_request_duration_seconds", "Seconds of a token lookup.", ("status",)
)
AUTHENTICATION_TOKEN_CACHE_FETCH_TOTAL: Final = Counter(
    "authentication_token_cache_fetch_total", "Tokens authenticated behind the cache.", ("status",)
)
SERVICEACCOUNT_VALID_TOKENS_TOTAL: Final = Counter(
    "serviceaccount_valid_tokens_total", "Projected tokens used within their lifetime."
)


class TokenMetrics:
    """Observed at each lookup of a bearer token."""

    def __init__(self, registry: Registry) -> None:
        self.authentication_token_cache_request_total = registry.bind(AUTHENTICATION_TOKEN_CACHE_REQUEST_TOTAL)
        self.authentication_token_cache_request_duration_seconds = registry.bind(
            AUTHENTICATION_TOKEN_CACHE_REQUEST_DURATION_SECONDS
        )
        self.authentication_token_cache_fetch_total = registry.bind(AUTHENTICATION_TOKEN_CACHE_FETCH_TOTAL)
        self.serviceaccount_valid_tokens_total = registry.bind(SERVICEACCOUNT_VALID_TOKENS_TOTAL)


AUTHORIZATION_ATTEMPTS_TOTAL: Final = Counter(
    "authorization_attempts_total", "Attempts to authorize, by result.", ("result",)
)
AUTHORIZATION_DURATION_SECONDS: Final = Histogram(
    "authorization_duration_seconds", "Seconds to authorize, by result.", ("result",), buckets=exponential(0.001, 2, 15)
)
AUTHORIZATION_DECISIONS_TOTAL: Final = Counter(
    "apiserver_authorization_decisions_total", "Final decisions of each authorizer.", ("type", "name", "decision")
)


class AuthorizationMetrics:
    """Observed at each pass through the authorization filter."""

    def __init__(self, registry: Registry) -> None:
        self.authorization_attempts_total = registry.bind(AUTHORIZATION_ATTEMPTS_TOTAL)
        self.authorization_duration_seconds = registry.bind(AUTHORIZATION_DURATION_SECONDS)
        self.authorization_decisions_total = registry.bind(AUTHORIZATION_DECISIONS_TOTAL)
