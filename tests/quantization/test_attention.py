"""Attention inside a frame keeps the operators that it is made of; esp-ppq would make one of them that ESP-DL lacks."""

import torch
from torch import Tensor, nn

from lightning_esp import Streaming, calibrate, convert, quantize
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_graph, prove_integers


class OverBins(nn.Module):
    """Attention over the bins of a frame, `[batch, time, bins, channels]`, one frame at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.q(x) @ self.k(x).transpose(-1, -2) * 8**-0.5, -1) @ self.v(x)

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


def test_no_operator_that_esp_dl_lacks_is_made(worker: Worker) -> None:
    torch.manual_seed(0)
    recordings = [torch.randn(20, 6, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    model = convert(OverBins(), recordings[0], Streaming(time_axis=1))
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    types = {operator.type for operator in read_espdl(quantized.stages[0].data).operators}
    assert types >= {"MatMul", "Softmax"}
    assert "Attention" not in types
    assert prove_graph(model, quantized, recordings, worker)[0].figure < 1e-5
    # Products of two activations are packed as ESP-DL reads them, so that they are right on both sides.
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
