import itertools

import pytest
import torch

from resnet_lightning.data.splits import every_fifth, fraction, held_out, one_fold


def shuffled(sizes, seed=0):
    """Shuffled labels of classes of these sizes."""
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


EQUAL = shuffled([20, 20, 20])
LABELS = {
    "unequal": shuffled([1, 2, 3, 17, 118, 40]),
    "a class is absent": shuffled([9, 0, 11, 0, 4]),
    "in order": torch.arange(4).repeat_interleave(13),
    "one image": torch.tensor([2]),
}
every_set_of_labels = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)


def counts(labels, marked):
    """The number of marked images of each class that occurs."""
    found = {}
    for label, mark in zip(labels.tolist(), marked.tolist(), strict=True):
        found[label] = found.get(label, 0) + mark
    return found


def sizes(labels):
    return counts(labels, torch.ones(len(labels), dtype=torch.bool))


def numbers(marked):
    return {number for number, mark in enumerate(marked.tolist()) if mark}


@every_set_of_labels
def test_every_fifth_equals_a_loop(labels):
    seen, expected = {}, []
    for label in labels.tolist():
        seen[label] = seen.get(label, 0) + 1
        expected.append(seen[label] % 5 == 0)
    assert every_fifth(labels).tolist() == expected


@every_set_of_labels
def test_the_same_share_of_each_class_is_held_out(labels):
    for share in (0.01, 0.1, 0.25, 0.5):
        found = counts(labels, held_out(labels, share, seed=3))
        for label, size in sizes(labels).items():
            assert found[label] <= size
            if size == 1:
                assert found[label] == 0  # training needs it
            else:
                assert found[label] >= 1
                assert abs(found[label] - share * size) <= 0.5 + 1e-5 or found[label] == 1


@every_set_of_labels
def test_folds_are_equal_parts_of_all_images_and_of_each_class(labels):
    for num_folds in (2, 3, 10):
        folds = [one_fold(labels, num_folds, fold, seed=3) for fold in range(num_folds)]
        assert sum(fold.int() for fold in folds).tolist() == [1] * len(labels)
        lengths = [len(numbers(fold)) for fold in folds]
        assert max(lengths) - min(lengths) <= 1
        by_class = [counts(labels, fold) for fold in folds]
        for label in sizes(labels):
            of_class = [found[label] for found in by_class]
            assert max(of_class) - min(of_class) <= 1


@every_set_of_labels
def test_a_fraction_is_a_share_of_each_class_and_at_least_one_image(labels):
    among = ~held_out(labels, 0.2, seed=1)
    for share in (0.001, 0.3, 0.75, 1.0):
        chosen = fraction(labels, among, share, seed=3)
        assert numbers(chosen) <= numbers(among)
        found = counts(labels, chosen)
        for label, size in counts(labels, among).items():
            assert min(1, size) <= found[label] <= size
            assert abs(found[label] - share * size) <= 0.5 + 1e-5 or found[label] == 1
        assert share < 1 or torch.equal(chosen, among)


@every_set_of_labels
def test_a_smaller_fraction_is_a_subset_of_a_larger_one(labels):
    among = ~one_fold(labels, 4, 1, seed=1)
    nested = [numbers(fraction(labels, among, percent / 100, seed=3)) for percent in range(1, 101, 3)]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(nested))
    assert nested[-1] == numbers(among)


def test_a_class_without_remaining_images_has_no_fraction():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    among = torch.tensor([True, True, False, False, True, False])
    assert counts(labels, fraction(labels, among, 0.1, seed=0)) == {0: 1, 1: 0, 2: 1}
    assert numbers(fraction(labels, torch.zeros(6, dtype=torch.bool), 0.5, seed=0)) == set()


EVERYTHING = torch.ones(60, dtype=torch.bool)


@pytest.mark.parametrize(
    "rule",
    [
        lambda labels, seed: held_out(labels, 0.2, seed),
        lambda labels, seed: one_fold(labels, 5, 2, seed),
        lambda labels, seed: fraction(labels, EVERYTHING, 0.3, seed),
    ],
    ids=["held_out", "one_fold", "fraction"],
)
def test_only_the_seed_decides(rule):
    labels = EQUAL
    torch.manual_seed(1)
    first, state = rule(labels, 0), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(rule(labels, 0), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(rule(labels, seed).tolist()) for seed in range(10)}) == 10


def test_every_image_is_held_out_about_equally_often():
    times = sum(held_out(EQUAL, 0.25, seed).int() for seed in range(400))
    assert times.sum() == 400 * 15
    # Binomial with mean 100 and standard deviation 8.7; the largest of 60 stays within 4.5 of them.
    assert times.min() >= 61
    assert times.max() <= 139
