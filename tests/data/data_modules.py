"""What data modules yield and raise, for several test files."""


def one_line(caught):
    """The message of a caught error, which must be a single line."""
    message = str(caught.value)
    assert "\n" not in message
    return message


def indices_of(data, name):
    return data.split(name).indices.tolist()


def as_bytes(images):
    """Each image as bytes, so that lists of images can be compared and sorted."""
    return [image.tobytes() for image in images]


def pixels_of(data, name):
    split = data.split(name)
    return as_bytes(split.images[split.indices].numpy())


def batches(data, loader):
    """The batches of a loader as a model receives them."""
    assert loader.dataset.finish == data.finish
    return list(loader)
