"""Peak memory of a run."""

import time

import torch

from orthograd.cost import PeakMemory

MIB = 2**20


def test_peak_memory_is_of_the_block_and_not_of_what_was_taken_for_another_purpose() -> None:
    # Blocks of this size are mapped alone and given back at once, so that the resident memory follows them.
    memory = PeakMemory(torch.device("cpu"))
    kept = torch.ones(200 * MIB // 4)
    memory.disregard(kept.nbytes)
    with memory:
        block = torch.ones(100 * MIB // 4)
        # The memory is read every 2 ms, in which a quick machine fills several MiB: the peak has to last.
        time.sleep(0.05)
        del block
    assert 95 * MIB < memory.bytes < 120 * MIB
