import pytest


@pytest.fixture
def package_warnings(caplog):
    """Returns a function that lists the warnings logged by this package so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("resnet_lightning")]
