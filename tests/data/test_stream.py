import gc
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import write_sizes
from resnet_lightning import Augmentation, InputError
from resnet_lightning.data import BatchLoader, Order, StreamLoader
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.loading.files import FileNames, ImageFiles

N = 13
TARGETS = torch.arange(N) % 3


@pytest.fixture
def names(tmp_path):
    return write_sizes(tmp_path, N)


def files_of(names):
    return ImageFiles(FileNames(names), size=6, shorter_side=8, channels=3)


def shuffled(n=N):
    return torch.randperm(n, generator=torch.Generator().manual_seed(n))


def damage(name):
    with open(name, "r+b") as file:
        file.truncate(60)


def problem_of(stream, taken=None):
    """The error that ends an iteration. ``pytest.raises`` would keep the frames, and with them the workers, alive."""
    try:
        for batch in stream:
            if taken is not None:
                taken.append(batch)
    except InputError as error:
        return str(error)
    return None


def workers():
    return {process.pid for process in multiprocessing.active_children()}


def refusal(name):
    return f"cannot read the image {name!r}: it is damaged or not an image; replace or remove it"


def assert_same_batch(found, expected):
    for name in ("images", "targets", "indices"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert found.epoch == expected.epoch
    assert (found.others is None) == (expected.others is None)
    assert found.others is None or torch.equal(found.others, expected.others)


@pytest.mark.parametrize(
    ("options", "world_size", "num_workers"),
    [
        ({}, 1, 2),
        ({}, 2, 0),
        ({"seed": 3}, 2, 0),
        ({"seed": 3, "pairs": True}, 1, 2),
        ({"seed": 3, "pairs": True}, 3, 0),
    ],
    ids=["evaluation by workers", "evaluation", "training", "pairs by workers", "pairs"],
)
def test_batches_equal_those_of_the_decoded_array_bitwise(names, options, world_size, num_workers):
    files = files_of(names)
    array, _ = files.read_all(range(N))
    for rank in range(world_size):
        order = Order(shuffled()[:11], 2, rank=rank, world_size=world_size, **options)
        for start in (0, 1):
            when = {"epoch": lambda: 4, "start": lambda start=start: start}
            stream = StreamLoader(files, TARGETS, order, num_workers=num_workers, **when)
            assert len(stream) == len(order)
            expected = list(BatchLoader(array, TARGETS, order, **when))
            assert len(expected) == len(order) - start
            for found, wanted in zip(stream, expected, strict=True):
                assert_same_batch(found, wanted)


def test_persistent_workers_follow_the_order_of_each_epoch(names):
    files = files_of(names)
    array, _ = files.read_all(range(N))
    now = {"epoch": 0, "start": 0}
    when = {"epoch": lambda: now["epoch"], "start": lambda: now["start"]}
    order = Order(shuffled(), 3, seed=1, pairs=True)
    stream = StreamLoader(files, TARGETS, order, num_workers=2, **when)
    others, seen = workers(), []
    for epoch, start in ((0, 0), (5, 2), (6, 0), (0, 0)):
        now.update(epoch=epoch, start=start)
        for found, wanted in zip(stream, BatchLoader(array, TARGETS, order, **when), strict=True):
            assert_same_batch(found, wanted)
        seen.append(workers() - others)
    assert len(seen[0]) == 2
    assert all(same == seen[0] for same in seen)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_reading_leaves_the_global_generator_alone(names, num_workers):
    # Otherwise the number of workers would change the training of a model that draws random numbers.
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for _ in range(2):
        assert len(list(StreamLoader(files_of(names), TARGETS, Order(shuffled(), 5), num_workers=num_workers))) == 3
    assert torch.equal(torch.get_rng_state(), state)


# The random resized crop.

CROP = Augmentation(resized_crop=0.3)


def crops(names, batch_size, num_workers=0, *, epoch=2, augment=CROP, **order):
    """The pixels of each image, as training batches hold them."""
    order = Order(torch.arange(12), batch_size, **{"seed": 5, **order})
    stream = StreamLoader(
        files_of(names), TARGETS, order, augment, seed=5, num_workers=num_workers, epoch=lambda: epoch
    )
    return {
        int(index): image
        for batch in stream
        for image, index in zip(batch.images, batch.indices[:batch_size], strict=False)
    }


def test_a_crop_depends_only_on_seed_epoch_and_image(names):
    expected = crops(names, 4)
    of_three_processes = [crops(names, 2, rank=rank, world_size=3) for rank in range(3)]
    for found in (
        crops(names, 6),
        crops(names, 3, num_workers=2, pairs=True),
        of_three_processes[0] | of_three_processes[1] | of_three_processes[2],
    ):
        assert set(found) == set(expected) == set(range(12))
        assert all(torch.equal(found[number], expected[number]) for number in found)


def test_partners_from_outside_the_batch_get_the_same_crop(names):
    expected = crops(names, 4)
    order = Order(torch.arange(12), 3, seed=5, pairs=True)
    rows = 0
    for batch in StreamLoader(files_of(names), TARGETS, order, CROP, seed=5, epoch=lambda: 2):
        for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
            assert torch.equal(image, expected[index])
            rows += 1
    assert rows == 12 + 4


def test_a_crop_is_the_drawn_box_of_the_whole_file(names):
    for number, image in crops(names, 4).items():
        with Image.open(names[number]) as opened:
            whole = opened.convert("RGB")
        sides = np.array([whole.height]), np.array([whole.width])
        box = CROP.boxes(Draws(torch.tensor([number]), 5, 2), *sides)
        top, left, height, width = (int(side[0]) for side in box)
        cut = whole.crop((left, top, left + width, top + height)).resize((6, 6), Image.Resampling.BILINEAR)
        # Pillow rounds after each of its two passes.
        assert np.abs(np.asarray(cut).astype(int) - image.permute(1, 2, 0).numpy()).max() <= 1


def test_the_epoch_changes_the_boxes_and_evaluation_has_none(names):
    first, other = crops(names, 4), crops(names, 4, epoch=3)
    assert not any(torch.equal(first[number], other[number]) for number in first)
    evaluated, plain = crops(names, 4, seed=None), crops(names, 4, seed=None, augment=Augmentation())
    assert all(torch.equal(evaluated[number], plain[number]) for number in plain)


# What cannot be read.


@pytest.mark.parametrize(("seed", "num_workers"), [(None, 2), (3, 0)])
def test_an_unreadable_image_amid_the_stream_is_named_in_one_line(names, seed, num_workers):
    order = Order(shuffled(), 3, seed=seed)
    number = int(order.of(0)[7])
    damage(names[number])
    before = []
    stream = StreamLoader(files_of(names), TARGETS, order, num_workers=num_workers)
    assert problem_of(stream, before) == refusal(names[number])
    assert [batch.indices.tolist() for batch in before] == [step.indices.tolist() for step in order.steps(0)][:2]


@pytest.mark.parametrize(("seed", "num_workers"), [(None, 0), (3, 2)])
def test_skipping_yields_all_other_images_and_collects_the_names(names, seed, num_workers):
    order = Order(shuffled(), 3, seed=seed)
    array, _ = files_of(names).read_all(range(N))
    missing = {int(order.of(0)[place]) for place in (3, 5, 7)}
    for number in missing:
        damage(names[number])
    unreadable = set()
    stream = StreamLoader(
        files_of(names), TARGETS, order, num_workers=num_workers, on_error="skip", unreadable=unreadable
    )
    for _ in range(2):  # the second epoch adds no names
        batches = list(stream)
        assert [batch.indices.tolist() for batch in batches] == [
            [number for number in step.indices.tolist() if number not in missing] for step in order.steps(0)
        ]
        for batch in batches:
            assert torch.equal(batch.images.permute(0, 2, 3, 1), array[batch.indices])
            assert torch.equal(batch.targets, TARGETS[batch.indices])
        assert unreadable == {names[number] for number in missing}


@pytest.mark.parametrize("places", [(4,), (3, 8), (0,), (1, 2, 9)])
def test_an_image_whose_partner_is_missing_is_mixed_with_itself(names, places):
    order = Order(shuffled(), 1, seed=3).of(0)
    missing = [int(order[place]) for place in places]
    for number in missing:
        damage(names[number])
    for batch_size, num_workers in ((2, 0), (3, 0), (5, 0), (13, 0), (3, 2 if places == (3, 8) else 0)):
        order = Order(shuffled(), batch_size, seed=3, pairs=True)
        stream = StreamLoader(files_of(names), TARGETS, order, num_workers=num_workers, on_error="skip")
        for batch, (indices, others) in zip(stream, order.steps(0), strict=True):
            expected = {}
            for image, row in zip(indices[:batch_size].tolist(), others.tolist(), strict=True):
                if image not in missing:
                    partner = int(indices[row])
                    expected[image] = image if partner in missing else partner
            own, partners = batch.indices[: len(batch.others)].tolist(), batch.indices[batch.others].tolist()
            assert dict(zip(own, partners, strict=True)) == expected
            assert batch.indices.tolist() == [number for number in indices.tolist() if number not in missing]


def test_a_training_batch_without_a_readable_image_is_refused(names):
    order = Order(shuffled(), 3, seed=3)
    missing = order.of(0)[3:6].tolist()
    for number in missing:
        damage(names[number])
    stream = StreamLoader(files_of(names), TARGETS, order, num_workers=2, on_error="skip")
    assert problem_of(stream) == f"no image of a batch can be read, for example {names[missing[0]]!r}; check the files"


def test_a_training_batch_of_which_only_partners_are_readable_is_refused(names):
    order = Order(shuffled(), 1, seed=3, pairs=True)
    name = names[order.of(0)[4]]
    damage(name)
    stream = StreamLoader(files_of(names), TARGETS, order, on_error="skip")
    assert problem_of(stream) == f"no image of a batch can be read, for example {name!r}; check the files"


def test_an_evaluation_batch_may_be_empty(names):
    damage(names[3])
    stream = StreamLoader(files_of(names), TARGETS, Order(torch.arange(5), 1), on_error="skip")
    assert [len(batch.images) for batch in stream] == [1, 1, 1, 0, 1]


@pytest.mark.parametrize(("on_error", "num_workers"), [("raise", 0), ("skip", 2)])
def test_images_that_differ_in_size_are_named_in_one_line(names, on_error, num_workers):
    files = ImageFiles(FileNames([names[0], names[0], names[1]]), size=None, shorter_side=0, channels=3)
    stream = StreamLoader(files, TARGETS, Order(torch.arange(3), 3), num_workers=num_workers, on_error=on_error)
    assert problem_of(stream) == (
        f"the images differ in size: {names[0]!r} is 8x9 and {names[1]!r} is 9x14; give one size with --data.image_size"
    )


def test_an_unreadable_image_that_would_give_the_size_is_named_in_one_line(names):
    Path(names[0]).write_text("not an image")
    files = ImageFiles(FileNames([names[0]] * 3), size=None, shorter_side=0, channels=3)
    stream = StreamLoader(files, TARGETS, Order(torch.arange(3), 3), num_workers=1)
    assert problem_of(stream) == refusal(names[0])


# Starting and ending.


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupted_iteration_can_be_started_again(names, num_workers):
    order = Order(shuffled(), 2, seed=3)
    stream = StreamLoader(files_of(names), TARGETS, order, num_workers=num_workers)
    expected = [step.indices.tolist() for step in order.steps(0)]
    for taken in (1, 3, 0):
        iterator = iter(stream)
        assert [next(iterator).indices.tolist() for _ in range(taken)] == expected[:taken]
    assert [batch.indices.tolist() for batch in stream] == expected


@pytest.mark.slow
@pytest.mark.parametrize("end", ["all", "some", "error"])
def test_no_worker_remains_when_the_loader_is_deleted(names, end):
    others = workers()
    if end == "error":
        damage(names[2])
    stream = StreamLoader(files_of(names), TARGETS, Order(torch.arange(N), 1), num_workers=2)
    iterator = iter(stream)
    next(iterator)
    assert len(workers() - others) == 2
    if end == "all":
        assert len(list(iterator)) == N - 1
    if end == "error":
        assert problem_of(iterator) == refusal(names[2])
    del stream, iterator
    gc.collect()
    assert workers() <= others


def test_closing_ends_the_workers_in_the_middle_of_an_iteration(names):
    others = workers()
    stream = StreamLoader(files_of(names), TARGETS, Order(torch.arange(N), 1), num_workers=2)
    iterator = iter(stream)  # kept, so that it is not garbage collection that ends the workers
    next(iterator)
    assert len(workers() - others) == 2
    stream.close()
    assert workers() <= others
    assert len(list(stream)) == N
    stream.close()


def test_no_worker_starts_before_the_first_batch_is_requested(names):
    others = workers()
    stream = StreamLoader(files_of(names), TARGETS, Order(torch.arange(N), 4), num_workers=2)
    assert len(stream) == 4
    assert workers() == others
