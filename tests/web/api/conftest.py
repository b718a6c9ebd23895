"""The API, asked by an administrator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from access.roles import Role
from tests.factories import make_user


class Boss:
    def __init__(self) -> None:
        self.client = Client()
        self.user = make_user(Role.ADMIN)
        self.client.force_login(self.user)

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(f"/api/v1/{path}")
        assert answer.status_code == status, answer.content
        return answer.json()

    def names(self, path: str) -> list[str]:
        return [one["name"] for one in self.get(path)["results"]]

    def post(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = self.client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")
        assert answer.status_code == status, answer.content
        return json.loads(answer.content) if answer.content else None


@pytest.fixture
def boss(db: None) -> Boss:
    return Boss()
