"""Makes `*.onnx` and `logits.npz` anew: needs onnx and onnxruntime.

A network of a convolution, pooling, a residual addition and two products of matrices, quantised in
QDQ form by ONNX Runtime, and the logits that ONNX Runtime gives with all its optimisations, which
compute with integers.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

HERE = Path(__file__).parent
KINDS = {
    "signed": {"activation_type": QuantType.QInt8},
    "channels": {"activation_type": QuantType.QUInt8, "per_channel": True},
    "unsigned": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
}


class Images:
    """What ONNX Runtime asks for ranges."""

    def __init__(self, images: np.ndarray) -> None:
        self.left = [{"x": image[None]} for image in images]

    def get_next(self) -> dict | None:
        return self.left.pop() if self.left else None


def plain(path: Path, random: np.random.Generator) -> None:
    weights = {
        "first.weight": (4, 2, 3, 3), "first.bias": (4,), "second.weight": (4, 4, 3, 3),
        "second.bias": (4,), "head": (64, 12), "head_bias": (12,), "last.weight": (5, 12),
        "last.bias": (5,),
    }  # fmt: skip
    arrays = [
        numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    made = [
        ("Conv", ["x", "first.weight", "first.bias"], "c1", {"pads": [1] * 4}),
        ("Relu", ["c1"], "r1", {}),
        ("MaxPool", ["r1"], "p1", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["p1", "second.weight", "second.bias"], "c2", {"pads": [1] * 4}),
        ("Add", ["c2", "p1"], "s", {}),
        ("Relu", ["s"], "r2", {}),
        ("Flatten", ["r2"], "f", {}),
        ("MatMul", ["f", "head"], "m", {}),
        ("Add", ["m", "head_bias"], "h", {}),
        ("Relu", ["h"], "r3", {}),
        ("Gemm", ["r3", "last.weight", "last.bias"], "y", {"transB": 1}),
    ]
    nodes = [helper.make_node(op, read, [end], f"{op.lower()}_{end}", **held)
             for op, read, end, held in made]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in (("x", (2, 8, 8)), ("y", (5,)))]  # fmt: skip
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def main() -> None:
    random = np.random.default_rng(0)
    images = random.normal(0, 1, (24, 2, 8, 8)).astype(np.float32)
    before = HERE / "plain.onnx"
    plain(before, random)
    found = {"images": images}
    for kind, how in KINDS.items():
        path = HERE / f"{kind}.onnx"
        quantize_static(before, path, Images(images), quant_format=QuantFormat.QDQ, **how)
    for kind in ("plain", *KINDS):
        session = onnxruntime.InferenceSession(HERE / f"{kind}.onnx")
        found[kind] = session.run(None, {"x": images})[0]
    np.savez_compressed(HERE / "logits.npz", **found)


if __name__ == "__main__":
    main()
