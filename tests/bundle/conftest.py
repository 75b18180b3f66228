"""Fixtures of bundles that are replaced."""

from __future__ import annotations

import os

import pytest

from lightning_esp.bundle import disk


@pytest.fixture(params=["exchange", "rename"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rename":
        monkeypatch.setattr(disk, "_exchange", lambda first, second: False)
    return str(request.param)


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, and the disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
