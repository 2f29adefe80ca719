"""Zeros as hardware holds them: those of padding, and those with a sign."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.faults.corruption import Corruption, whole_box
from radhard.network.workload import Workload

TYPES = {
    rh.FLOAT32: (torch.float32, torch.int32),
    rh.FLOAT16: (torch.float16, torch.int16),
    rh.BFLOAT16: (torch.bfloat16, torch.int16),
}
M, C, SIZE, TAPS = 5, 2, (4, 5), 18


def workload(fmt: rh.NumberFormat) -> tuple[Workload, Tensor, Tensor, Tensor]:
    """A padded convolution with many zeros of both signs; weights, bias, windows (b, p, terms)."""
    random = torch.Generator().manual_seed(4)
    layer = nn.Conv2d(C, M, 3, padding=1)
    for part in layer.parameters():
        part.data = fmt.round(torch.randn(part.shape, generator=random))
    x = fmt.round(torch.randn(3, C, *SIZE, generator=random))
    x[x.abs() < 0.5] *= 0.0
    work = rh.capture(nn.Sequential(layer, nn.Flatten()), x, torch.tensor([0, 1, 2]), format=fmt)
    windows = nn.functional.unfold(x, 3, padding=1).transpose(1, 2)
    return work, layer.weight.detach().view(M, TAPS), layer.bias.detach(), windows


def corruption(operand: str, n: int, **columns: np.ndarray) -> Corruption:
    given = {"layer": np.zeros(n, np.int64), "operand": np.full(n, operand)}
    given |= {"keep": np.full(n, -1), "first": np.zeros(n, np.int64)}
    given |= dict.fromkeys(("channels", "positions", "terms"), whole_box(n))
    return Corruption(**{**given, **columns})


def one(place: np.ndarray) -> np.ndarray:
    return np.stack([place, place + 1], 1)


@pytest.mark.parametrize("fmt", TYPES, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("operand", ["product", "psum"])
def test_a_product_keeps_the_sign_of_its_zero_and_a_sum_of_one_does_not(fmt, operand) -> None:
    work, w, _, windows = workload(fmt)
    n, (real, code) = 600, TYPES[fmt]
    rng = np.random.default_rng(2)
    m, p, k, image = (rng.integers(0, most, n) for most in (M, 20, TAPS, 3))
    flip = 1 << rng.integers(0, fmt.width, n)
    struck = corruption(operand, n, element=m * 20 + p, image=image, flip=flip, terms=one(k))
    run = rh.resume(rh.record(work), struck)
    held = (windows[image, p, k] * w[m, k]).to(real)
    held = held if operand == "product" else held + 0.0
    expected = held.view(code).to(torch.int64) & ((1 << fmt.width) - 1)
    assert torch.equal(run.struck.code, expected)
    minus = 1 << (fmt.width - 1)
    assert ((expected == minus).sum() > 50) == (operand == "product")
    after = (expected ^ torch.from_numpy(flip)).to(code).view(real).double()
    assert torch.equal(run.struck.after.nan_to_num(7.0), after.nan_to_num(7.0))


@pytest.mark.parametrize("operand", ["input", "weight"])
def test_an_operand_that_is_read_once_keeps_the_sign_of_its_zero(operand) -> None:
    work, w, _, _ = workload(rh.FLOAT32)
    work = work.with_(images=-work.images * 0.0) if operand == "input" else work
    if operand == "weight":
        minus = torch.zeros_like(w).neg()
        model = nn.Sequential(nn.Conv2d(C, M, 3, padding=1), nn.Flatten())
        model[0].weight.data = minus.view(M, C, 3, 3)
        work = rh.capture(model, work.images, work.labels)
    at = np.array([20])  # of both planes and of weights: the centre of a window of output 0 or 1
    box = {"channels": one(at // TAPS), "positions": one(np.array([0]))}
    struck = corruption(operand, 1, element=at, image=at * 0, flip=np.array([1 << 30]), **box)
    run = rh.resume(rh.record(work), struck)
    held = work.images[0].reshape(-1)[20] if operand == "input" else minus.reshape(-1)[20]
    assert run.struck.code.item() == int(held.view(torch.int32)) & 0xFFFFFFFF


@pytest.mark.parametrize("patches", [True, False])
@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.FLOAT64, rh.FIXED16_10], ids=lambda fmt: fmt.name)
def test_a_wrong_zero_of_padding_is_read_by_the_channels_of_its_box(fmt, patches) -> None:
    work, w, bias, windows = workload(fmt)
    rng = np.random.default_rng(3)
    outside = nn.functional.unfold(torch.ones(1, 1, *SIZE), 3, padding=1)[0].T == 0
    p, tap = torch.nonzero(outside).T.numpy()
    n = len(p)
    start = rng.integers(0, M, n)
    end = np.minimum(start + rng.integers(1, 4, n), M)
    k, image = tap + 9 * rng.integers(0, C, n), rng.integers(0, 3, n)
    wrong = fmt.round(torch.from_numpy(rng.normal(size=n)) * 3)
    flip = fmt.encode(wrong).numpy()
    box = {"channels": np.stack([start, end], 1), "positions": one(p), "terms": one(k)}
    inside = corruption("input", n, element=np.arange(n) % 40, image=image, flip=flip)
    zeros = corruption("input", n, element=np.full(n, -1), image=image, flip=flip, **box)
    both = [np.concatenate([getattr(c, f) for c in (zeros, inside)]) for f in zeros.__slots__]
    order = rng.permutation(2 * n)
    run = rh.resume(rh.record(work), Corruption(*(part[order] for part in both)), patches=patches)
    rows = torch.from_numpy(np.argsort(order)[:n])
    logits, golden = run.logits[rows].double(), run.golden[rows].double()
    for i in range(n):
        expected = golden[i].view(M, -1).clone()
        for m in range(start[i], end[i]):
            window = windows[image[i], p[i]].double().clone()
            assert window[k[i]] == 0
            window[k[i]] = wrong[i]
            expected[m, p[i]] = window @ w[m].double() + bias[m].double()
        assert torch.allclose(logits[i], expected.view(-1), rtol=1e-5, atol=2e-3), i
    assert (logits != golden).any(1).all()
