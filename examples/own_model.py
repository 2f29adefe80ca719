"""Assess a model of your own, compare number formats, and look at the worst layers.

Run it anywhere: python examples/own_model.py
"""

import radhard as rh
from radhard.network.source import subject

digits = subject("digits-cnn")  # any nn.Module, images and labels do
work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], name="digits")

campaigns = [
    rh.Campaign(work.with_(format=fmt), rh.chips.SOFTWARE, name=fmt.name)
    for fmt in (rh.FLOAT32, rh.BFLOAT16, rh.FIXED16_10, rh.INT8)
]
for result in rh.collect(campaigns, until=2000, store="runs/formats"):
    worst = max(result.by(lambda s: (s.layer,)), key=lambda part: part["sdc1"].value)
    print(f"{result.name:11} SDC-1 {result['sdc1']}; worst layer {worst.label[0]}: {worst['sdc1']}")
print(rh.report("runs/formats"))
