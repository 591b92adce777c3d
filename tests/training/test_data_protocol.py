"""What callbacks require of a data module."""

import inspect

from resnet_lightning import DigitsDataModule
from resnet_lightning.training.data_protocol import ImageData


def test_data_modules_offer_what_callbacks_require():
    data = DigitsDataModule()
    required = {name: member for name, member in vars(ImageData).items() if not name.startswith("_")}
    assert required
    for name, member in required.items():
        assert hasattr(data, name)
        if inspect.isfunction(member):
            assert inspect.signature(getattr(DigitsDataModule, name)) == inspect.signature(member)
