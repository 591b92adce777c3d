import pytest
import torch

from resnet_lightning import Augmentation
from resnet_lightning.data import BatchLoader, Order
from resnet_lightning.data.augmentation.draws import Draws

AWKWARD = [(0, 4), (1, 1), (1, 4), (7, 3), (12, 4), (13, 4), (17, 5), (24, 4), (25, 4), (26, 2)]


def some(n, of=None):
    """``n`` indices of ``of`` images, shuffled."""
    return torch.randperm(of or n + 5, generator=torch.Generator().manual_seed(n))[:n]


def make_data(n, channels=3):
    generator = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 4, 6, channels), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (n,), generator=generator)


def orders(indices, batch_size, world_size, **options):
    return [Order(indices, batch_size, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


def indices_of(order, epoch=0, start=0):
    return [step.indices.tolist() for step in order.steps(epoch, start)]


def flat(lists):
    return [item for one in lists for item in one]


# The order.


def test_training_order_is_a_permutation_of_the_images():
    indices = some(100)
    for seed, epoch in ((0, 0), (3, 50), (2**40, 1)):
        order = Order(indices, 10, seed=seed)
        assert sorted(order.of(epoch).tolist()) == sorted(indices.tolist())
        assert not torch.equal(order.of(epoch), indices)


def test_training_order_is_a_function_of_seed_and_epoch():
    found = {}
    for seed in (0, 1, 2):
        for epoch in (0, 1, 2):
            first, second = (Order(some(100), size, seed=seed).of(epoch) for size in (4, 25))
            assert torch.equal(first, second)
            found[tuple(first.tolist())] = (seed, epoch)
    assert len(found) == 9


def test_training_order_leaves_the_global_generator_alone():
    order = Order(some(100), 10, seed=0, pairs=True)
    torch.manual_seed(1)
    first, state = indices_of(order), torch.get_rng_state()
    torch.manual_seed(2)
    assert indices_of(order) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_steps_are_slices_of_the_epochs_order():
    order = Order(some(23), 5, seed=1)
    for epoch in (0, 1, 7):
        assert indices_of(order, epoch) == [part.tolist() for part in order.of(epoch).split(5)[:4]]
    assert indices_of(order, 0) != indices_of(order, 1)


def test_only_training_drops_the_last_partial_batch():
    assert [len(batch) for batch in indices_of(Order(some(23), 5, seed=0))] == [5, 5, 5, 5]
    assert [len(batch) for batch in indices_of(Order(some(23), 5))] == [5, 5, 5, 5, 3]
    assert indices_of(Order(some(4), 5, seed=0)) == []
    # The dropped images differ from epoch to epoch.
    order = Order(some(23), 5, seed=0)
    assert set(order.of(0)[20:].tolist()) != set(order.of(1)[20:].tolist())


def test_evaluation_keeps_the_order_of_the_indices_in_every_epoch():
    indices = some(23)
    order = Order(indices, 5)
    for epoch in (0, 4):
        assert torch.equal(order.of(epoch), indices)
        assert flat(indices_of(order, epoch)) == indices.tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_processes_share_the_batches_of_one_process(world_size):
    for n, batch_size in AWKWARD:
        one = Order(some(n), batch_size * world_size, seed=5)
        several = orders(some(n), batch_size, world_size, seed=5)
        steps = n // (batch_size * world_size)
        assert [len(order) for order in (one, *several)] == [steps] * (1 + world_size)
        shares = [indices_of(order, epoch=3) for order in several]
        assert [len(share) for share in shares] == [steps] * world_size
        for step, expected in enumerate(indices_of(one, epoch=3)):
            assert flat(share[step] for share in shares) == expected
            assert {len(share[step]) for share in shares} == {batch_size}


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_processes_see_every_image_once_in_equally_many_steps(world_size):
    for n, batch_size in AWKWARD:
        several = orders(some(n), batch_size, world_size)
        shares = [indices_of(order) for order in several]
        assert sorted(flat(flat(shares))) == sorted(some(n).tolist())
        steps = -(-n // (batch_size * world_size))
        assert [len(order) for order in several] == [steps] * world_size
        assert [len(share) for share in shares] == [steps] * world_size
        for step in range(steps):
            sizes = [len(share[step]) for share in shares]
            assert max(sizes) <= min(batch_size, min(sizes) + 1)  # no process waits for another


@pytest.mark.parametrize(
    ("options", "world_size"),
    [({}, 2), ({"seed": 4}, 3), ({"seed": 4, "pairs": True}, 1), ({"seed": 4, "pairs": True}, 2)],
    ids=["evaluation", "training", "pairs", "pairs of two processes"],
)
def test_a_start_leaves_exactly_the_remaining_steps(options, world_size):
    for order in orders(some(37), 3, world_size, **options):
        whole = [(step.indices.tolist(), step.others) for step in order.steps(epoch=2)]
        assert len(whole) == len(order) > 3
        for start in range(len(order) + 1):
            rest = list(order.steps(2, start))
            assert [step.indices.tolist() for step in rest] == [indices for indices, _ in whole[start:]]
            for step, (_, others) in zip(rest, whole[start:], strict=True):
                assert (step.others is None) == (others is None)
                assert others is None or torch.equal(step.others, others)


# Pairs.


def partners(steps):
    """The partner of each image in some steps."""
    found = {}
    for indices, others in steps:
        for image, row in zip(indices[: len(others)].tolist(), others.tolist(), strict=True):
            found[image] = int(indices[row])
    return found


def neighbors(order):
    """Pairs the first two images, the next two and so on; the last of an odd number with the first."""
    order = order.tolist()
    found = {}
    for first, second in zip(order[::2], order[1::2], strict=False):
        found[first], found[second] = second, first
    if len(order) % 2:
        found[order[-1]] = order[0]
    return found


@pytest.mark.parametrize("n", [1, 24, 45])
def test_the_partner_of_an_image_is_a_function_of_seed_epoch_and_image(n):
    for seed, epoch in ((0, 0), (6, 1)):
        expected = neighbors(Order(some(n), 1, seed=seed).of(epoch))
        for batch_size in (1, 2, 3, 5, 8):
            for world_size in (1, 2, 3):
                several = orders(some(n), batch_size, world_size, seed=seed, pairs=True)
                found = partners(step for order in several for step in order.steps(epoch))
                assert len(found) == n // (batch_size * world_size) * batch_size * world_size
                assert found == {image: expected[image] for image in found}


def test_partners_are_mutual_except_for_the_last_of_an_odd_number():
    for n in (24, 25):
        order = Order(some(n), 1, seed=2, pairs=True)
        found = partners(order.steps(7))
        taken = order.of(7).tolist()
        assert [image for image in taken if found[found[image]] != image] == (taken[-1:] if n % 2 else [])
        assert all(found[image] != image for image in taken)


def test_other_epochs_and_seeds_make_other_pairs():
    found = {
        tuple(sorted(partners(Order(some(24), 4, seed=seed, pairs=True).steps(epoch)).items()))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(found) == 4


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 3), (2, 2), (3, 1), (8, 1), (5, 3)])
def test_rows_beyond_the_batch_are_partners_from_outside_it(batch_size, world_size):
    for plain, paired in zip(
        orders(some(49), batch_size, world_size, seed=1),
        orders(some(49), batch_size, world_size, seed=1, pairs=True),
        strict=True,
    ):
        expected = neighbors(plain.of(3))
        for (batch, none), (rows, others) in zip(plain.steps(3), paired.steps(3), strict=True):
            assert none is None
            assert torch.equal(rows[:batch_size], batch)
            outside = [expected[image] for image in batch.tolist() if expected[image] not in batch]
            assert rows[batch_size:].tolist() == outside
            assert others.shape == (batch_size,)
            assert others.dtype == torch.int64


def test_evaluation_makes_no_pairs():
    assert [step.others for step in Order(some(7), 3, pairs=True).steps(0)] == [None] * 3


# Batches.


def test_epoch_and_start_are_read_each_time_an_iteration_starts():
    now = {"epoch": 0, "start": 0}
    order = Order(some(23, of=23), 5, seed=1)
    loader = BatchLoader(*make_data(23), order, epoch=lambda: now["epoch"], start=lambda: now["start"])
    seen = []
    for epoch, start in ((0, 0), (1, 0), (7, 3), (7, 0), (0, 1)):
        now.update(epoch=epoch, start=start)
        found = list(loader)
        assert {batch.epoch for batch in found} == {epoch}
        assert [batch.indices.tolist() for batch in found] == indices_of(order, epoch)[start:]
        seen.append(found[-1].indices.tolist())
    assert seen[0] == seen[4]
    assert seen[2] == seen[3]
    assert len(loader) == 4


def test_evaluation_batches_have_no_epoch():
    batches = list(BatchLoader(*make_data(23), Order(some(23, of=23), 5), epoch=lambda: 4))
    assert [batch.epoch for batch in batches] == [None] * 5


def test_an_empty_batch_has_the_shape_of_a_full_one():
    images, targets = make_data(7)
    (batch,) = BatchLoader(images, targets, Order(torch.tensor([4, 2]), 3, rank=2, world_size=3))
    assert batch.images.shape == (0, 3, 4, 6)
    assert batch.images.dtype == torch.uint8
    assert batch.targets.shape == batch.indices.shape == (0,)
    assert batch.targets.dtype == batch.indices.dtype == torch.int64


@pytest.mark.parametrize(
    ("options", "channels"),
    [({}, 3), ({"seed": 0}, 1), ({"seed": 0, "pairs": True}, 3)],
    ids=["evaluation", "training", "pairs"],
)
def test_batches_hold_the_images_of_their_indices_as_channels_last_uint8(options, channels):
    images, targets = make_data(50, channels)
    seen = 0
    for batch in BatchLoader(images, targets, Order(some(21, of=50), 3, **options)):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(batch.indices), channels, 4, 6)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets.dtype == batch.indices.dtype == torch.int64
        for image, target, index in zip(*batch[:3], strict=True):
            assert target == targets[index]
            for channel in range(channels):
                assert torch.equal(image[channel], images[index, :, :, channel])
            seen += 1
    # Each of the seven batches of three starts or ends inside a pair.
    assert seen == (21 + 7 if "pairs" in options else 21)


def test_a_batch_is_a_copy():
    images, targets = make_data(4)
    before = images.clone(), targets.clone()
    batch = next(iter(BatchLoader(images, targets, Order(torch.arange(4), 4))))
    batch.images.zero_()
    batch.targets.zero_()
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_crops_are_cut_while_gathering_only_in_training_and_where_the_padded_images_fit():
    images, targets = make_data(8)
    augment, training = Augmentation(crop=1, flip=True), Order(torch.arange(8), 4, seed=0)
    loader = BatchLoader(images, targets, training)
    for unchanged in (
        loader.cropping(augment, seed=0, processes=10**12),  # too large for the memory
        loader.cropping(Augmentation(rotate=5, crop=1), seed=0, processes=1),
    ):
        assert unchanged is loader
    evaluation = BatchLoader(images, targets, Order(torch.arange(8), 4))
    assert evaluation.cropping(augment, seed=0, processes=1) is evaluation
    for cropped, plain in zip(loader.cropping(augment, seed=0, processes=1), loader, strict=True):
        assert cropped.done == ("crop", "flip")
        assert torch.equal(cropped.images, augment.move(plain.images, Draws(plain.indices, 0, 0)))
