"""The browser of the tests that need one."""

import shutil

import pytest


def chromium() -> str:
    """Path of the program; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("needs Chromium: apt-get install chromium")
