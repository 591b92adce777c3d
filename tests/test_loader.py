import pytest
import torch

from resnet_lightning.data import BatchLoader, Split

AWKWARD = [(0, 4), (1, 1), (1, 4), (7, 3), (12, 4), (13, 4), (17, 5), (24, 4), (25, 4), (26, 2)]


def make_split(n, channels=3, of=None):
    """``n`` images out of ``of``, not in order."""
    generator = torch.Generator().manual_seed(n)
    of = of or n + 5
    images = torch.randint(0, 256, (of, 4, 6, channels), dtype=torch.uint8, generator=generator)
    targets = torch.randint(0, 10, (of,), generator=generator)
    return Split(images, targets, torch.randperm(of, generator=generator)[:n])


def indices_of(loader):
    return [batch.indices.tolist() for batch in loader]


def flat(lists):
    return [item for one in lists for item in one]


@pytest.mark.parametrize("seed", [0, 3, 2**40])
def test_training_order_is_a_permutation_of_the_split(seed):
    split = make_split(100)
    loader = BatchLoader(split, 10, seed=seed)
    for epoch in (0, 1, 50):
        order = loader.order(epoch)
        assert sorted(order.tolist()) == sorted(split.indices.tolist())
        assert not torch.equal(order, split.indices)


def test_training_order_is_a_function_of_seed_and_epoch():
    orders = {}
    for seed in (0, 1, 2):
        for epoch in (0, 1, 2):
            first, second = (BatchLoader(make_split(100), size, seed=seed).order(epoch) for size in (4, 25))
            assert torch.equal(first, second)
            orders[tuple(first.tolist())] = (seed, epoch)
    assert len(orders) == 9


def test_training_order_leaves_the_global_generator_alone():
    loader = BatchLoader(make_split(100), 10, seed=0)
    torch.manual_seed(1)
    first, state = indices_of(loader), torch.get_rng_state()
    torch.manual_seed(2)
    assert indices_of(loader) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_slices_of_the_order_of_the_current_epoch():
    epoch = 0
    loader = BatchLoader(make_split(23), 5, seed=1, epoch=lambda: epoch)
    seen = []
    for epoch in (0, 1, 7, 0):
        batches = list(loader)
        assert {batch.epoch for batch in batches} == {epoch}
        assert [batch.indices.tolist() for batch in batches] == [
            part.tolist() for part in loader.order(epoch).split(5)[:4]
        ]
        seen.append([batch.indices.tolist() for batch in batches])
    assert seen[0] == seen[3]
    assert seen[0] != seen[1] != seen[2]


def test_the_last_partial_batch_is_left_out_in_training_alone():
    assert [len(batch.indices) for batch in BatchLoader(make_split(23), 5, seed=0)] == [5, 5, 5, 5]
    assert [len(batch.indices) for batch in BatchLoader(make_split(23), 5)] == [5, 5, 5, 5, 3]
    assert list(BatchLoader(make_split(4), 5, seed=0)) == []
    # What is left out differs from epoch to epoch.
    loader = BatchLoader(make_split(23), 5, seed=0)
    assert set(loader.order(0)[20:].tolist()) != set(loader.order(1)[20:].tolist())


def test_evaluation_keeps_the_order_of_the_split():
    split = make_split(23)
    batches = list(BatchLoader(split, 5, epoch=lambda: 4))
    assert flat(batch.indices.tolist() for batch in batches) == split.indices.tolist()
    assert {batch.epoch for batch in batches} == {None}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("n", "batch_size"), AWKWARD)
def test_training_processes_together_see_what_one_sees(n, batch_size, world_size):
    split = make_split(n)

    def epoch():
        return 3

    one = BatchLoader(split, batch_size * world_size, seed=5, epoch=epoch)
    several = [
        BatchLoader(split, batch_size, seed=5, epoch=epoch, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    steps = n // (batch_size * world_size)
    assert len(one) == steps
    assert [len(loader) for loader in several] == [steps] * world_size
    shares = [indices_of(loader) for loader in several]
    assert [len(share) for share in shares] == [steps] * world_size
    for step, expected in enumerate(indices_of(one)):
        assert [share[step] for share in shares] == [expected[rank::world_size] for rank in range(world_size)]
        assert {len(share[step]) for share in shares} == {batch_size}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("n", "batch_size"), AWKWARD)
def test_evaluation_processes_see_every_image_once_in_as_many_steps(n, batch_size, world_size):
    split = make_split(n)
    loaders = [BatchLoader(split, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [indices_of(loader) for loader in loaders]
    assert sorted(flat(flat(shares))) == sorted(split.indices.tolist())
    steps = -(-n // (batch_size * world_size))
    assert [len(loader) for loader in loaders] == [steps] * world_size
    assert [len(share) for share in shares] == [steps] * world_size
    for step in range(steps):
        sizes = [len(share[step]) for share in shares]
        assert max(sizes) <= min(batch_size, min(sizes) + 1)  # no process waits for another


def test_an_empty_batch_has_the_shape_of_a_full_one():
    (batch,) = BatchLoader(make_split(2, channels=3), 3, rank=2, world_size=3)
    assert batch.images.shape == (0, 3, 4, 6)
    assert batch.images.dtype == torch.uint8
    assert batch.targets.shape == (0,)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_hold_the_images_of_their_indices_as_channels_last_uint8(channels, seed):
    split = make_split(20, channels, of=50)
    seen = 0
    for batch in BatchLoader(split, 4, seed=seed):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (4, channels, 4, 6)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets.dtype == batch.indices.dtype == torch.int64
        for image, target, index in zip(*batch[:3], strict=True):
            assert target == split.targets[index]
            for channel in range(channels):
                assert torch.equal(image[channel], split.images[index, :, :, channel])
            seen += 1
    assert seen == 20


def test_a_batch_is_a_copy():
    split = make_split(4)
    before = split.images.clone()
    next(iter(BatchLoader(split, 4))).images.zero_()
    assert torch.equal(split.images, before)
