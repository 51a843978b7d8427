"""One service for all tests that leave it as it was."""
import httpx
import pytest
import served


@pytest.fixture(scope="session")
def address():
    with served.serving() as found:
        yield found


@pytest.fixture(scope="session")
def client(address):
    with httpx.Client(base_url=address, timeout=60) as found:
        yield found
