"""What TokenReviews are answered.

Source: k8s.io/kubernetes pkg/registry/authentication/tokenreview.
"""

from __future__ import annotations

from common.api import errors
from common.api.resource import Resource
from common.api.types.authentication_v1 import TokenReview, TokenReviewStatus, UserInfo
from common.security.identity import Identity
from master.apiserver.auth.accounttokens import API_AUDIENCES, INVALID, InvalidToken
from master.apiserver.auth.authenticator import Authenticator, authenticated
from master.apiserver.auth.serviceaccounts import ServiceAccounts


class TokenReviews:
    """Whose is a token?"""

    def __init__(self, accounts: ServiceAccounts, authenticator: Authenticator) -> None:
        self._accounts = accounts
        self._authenticator = authenticator

    def answer(self, user: Identity, resource: Resource, namespace: str, obj: TokenReview) -> None:
        """As if it had been shown to one of the audiences; raises StatusError 400 without one."""
        token, audiences = obj.spec.token, obj.spec.audiences or API_AUDIENCES
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        obj.status = TokenReviewStatus()
        try:
            account, common = self._accounts.authenticate(token, audiences)
            holder = authenticated(account)
        except InvalidToken as error:
            common = tuple(one for one in API_AUDIENCES if one in audiences)
            other = self._authenticator.recognize(None, f"Bearer {token}") if common else None
            if other is None:
                why = str(error)
                obj.status.error = why if why == INVALID else f"[{INVALID}, {why}]"
                return
            holder = other
        obj.status.authenticated, obj.status.audiences = True, common
        obj.status.user = user_info(holder)


def user_info(user: Identity) -> UserInfo:
    """All that is known of a user."""
    return UserInfo(username=user.user, uid=user.uid, groups=user.groups, extra=dict(user.extra))
