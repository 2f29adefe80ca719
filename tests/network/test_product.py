"""Convolutions as products of matrices, against those of the library."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radhard.network import product
from radhard.network.product import added_up, convolution


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device is taken to have convolutions of its own."""
    monkeypatch.setattr(product, "DIRECT", frozenset())


@st.composite
def shapes(draw: st.DrawFn) -> tuple:
    axes = draw(st.integers(1, 3))
    numbers = st.tuples(*[st.integers(1, 3)] * axes)
    kernel, stride, dilation = draw(numbers), draw(numbers), draw(numbers)
    padding = draw(st.tuples(*[st.integers(0, 2)] * axes))
    groups, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [draw(st.integers(span, span + 4)) for span in spans]
    x = (draw(st.integers(1, 4)), groups * inputs, *size)
    return x, (groups * outputs, inputs, *kernel), (stride, padding, dilation), groups


@pytest.mark.usefixtures("elsewhere")
@settings(max_examples=30, deadline=None)
@given(shape=shapes(), bias=st.booleans(), seed=st.integers(0, 99))
def test_integers_are_those_of_the_library(shape: tuple, bias: bool, seed: int) -> None:
    x_shape, w_shape, sliding, groups = shape
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(-128, 128, x_shape, generator=random).double()
    w = torch.randint(-128, 128, w_shape, generator=random).double()
    b = torch.randint(-99, 99, w_shape[:1], generator=random).double() if bias else None
    library = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}[x.dim()]
    expected = library(x, w, b, *sliding, groups)
    for kind in (torch.float32, torch.float64):
        given = [part.to(kind) if part is not None else None for part in (x, w, b)]
        found = convolution(*given, sliding, groups)
        assert torch.equal(found.double(), expected)
        assert found.is_contiguous()


@pytest.mark.usefixtures("elsewhere")
def test_a_wrong_value_stays_with_those_that_read_it() -> None:
    """A transform would spread it over a tile."""
    x, w = torch.ones(2, 3, 12, 12), torch.ones(4, 3, 3, 3)
    clean = convolution(x, w, None, ((1, 1), (1, 1), (1, 1)), 1)
    for wrong in (1e38, float("inf"), float("nan")):
        struck = x.clone()
        struck[1, 2, 5, 6] = wrong
        differs = convolution(struck, w, None, ((1, 1), (1, 1), (1, 1)), 1) != clean
        assert differs[1, :, 4:7, 5:8].all()
        assert int(differs.sum()) == 4 * 9


@pytest.mark.usefixtures("elsewhere")
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 9), k=st.integers(1, 40), seed=st.integers(0, 99))
def test_no_sum_depends_on_other_rows(n: int, k: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    terms = torch.randn(n, k, generator=random)
    found = added_up(terms)
    alone = torch.cat([added_up(terms[i : i + 1]) for i in range(n)])
    assert torch.equal(found, alone)
    exact = terms.double().sum(1)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)
