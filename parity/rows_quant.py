"""Rows 58-62: int8, NF4, FP4, double quantisation and the dynamic map of bitsandbytes."""

import hashlib

import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file

from common import E, S, SHARED, case, grid, seed, write_row

# On the CPU bitsandbytes 0.50 has a native 8-bit quantiser that reads a table of 65,536 cells and so
# misses the nearest value for 0.15 % of inputs. GPUs and the portable backend compute the nearest.


def portable_8bit(x, code, blocksize):
    flat = x.reshape(-1).float()
    out, stats = [], []
    bounds = (code[:-1] + code[1:]) / 2
    for first in range(0, flat.numel(), blocksize):
        block = flat[first:first + blocksize]
        absmax = block.abs().max()
        full = block.numel() == blocksize
        share = block * (1.0 / absmax.clamp(min=1e-38)) if full else block / absmax.clamp(min=1e-38)
        stats.append(absmax if full else absmax.clamp(min=1e-38))
        out.append(torch.bucketize(share.clamp(-1, 1), bounds, out_int32=True))
    return torch.cat(out), torch.stack(stats)


def values():
    # Rows of whole blocks: for others bitsandbytes' CPU library dequantises with the scale of a neighbour.
    seed(59)
    nf4 = F.get_4bit_type("nf4", device="cpu")
    middle = (nf4[:-1] + nf4[1:]) / 2
    return {
        "64": torch.randn(64), "65": torch.randn(65), "130": torch.randn(130), "zeros": torch.zeros(70), "one": torch.tensor([-0.25]),
        "midpoints": torch.cat([middle, torch.nextafter(middle, torch.tensor(2.0)), torch.nextafter(middle, torch.tensor(-2.0)), torch.ones(19)]),
        "small": torch.randn(70) * 1e-30, "large": torch.randn(70) * 1e30, "weights": torch.randn(2, 128) * 0.02,
    }


def four_bit():
    cases = []
    for kind in ("nf4", "fp4"):
        for name, x in values().items():
            if kind == "fp4" and name == "midpoints":
                continue
            for blocksize in (64,) if name != "weights" else (32, 64, 128):
                packed, state = F.quantize_4bit(x, blocksize=blocksize, quant_type=kind)
                out = F.dequantize_4bit(packed, state)
                cases.append(case(f"{kind}-{name}-{blocksize}", inputs={"x": x}, attrs={"type": kind, "blockSize": blocksize},
                                  outputs={"codes": packed.flatten().int(), "absmax": state.absmax, "dequantized": out}))
    write_row(59, "quant-4bit", "bitsandbytes.functional.quantize_4bit and dequantize_4bit, CPU", E, cases,
              {"codes": "bytes; the first of two codes in the high half"})


def maps():
    outputs = {"dynamic": F.create_dynamic_map(), "nf4": F.get_4bit_type("nf4", device="cpu"), "fp4": F.get_4bit_type("fp4", device="cpu")}
    write_row(62, "quant-maps", "create_dynamic_map, get_4bit_type", E, [case("maps", outputs=outputs)])


def double():
    seed(61)
    cases = []
    for name, count in (("300-blocks", 300), ("256-blocks", 256), ("3-blocks", 3)):
        absmax = torch.rand(count) * 0.03 + 0.04
        offset = absmax.mean()
        codes, nested = portable_8bit(absmax - offset, F.create_dynamic_map(), 256)
        state = F.QuantState(absmax=nested, code=F.create_dynamic_map(), blocksize=256, dtype=torch.float32)
        back = F.dequantize_blockwise(codes.to(torch.uint8), state) + offset
        cases.append(case(name, inputs={"absmax": absmax}, outputs={"codes": codes, "offset": offset.item(), "nestedAbsmax": nested, "absmax": back}))
    write_row(61, "quant-double", "quantize_4bit(compress_statistics=True): the arithmetic of its portable backend", {"abs": 1e-7, "rel": 1e-6}, cases,
              {"offset": "torch adds the mean up in another order: one ulp"})


def int8():
    seed(58)
    cases = []
    given = {"brief": torch.tensor([[0.234, -1.876, 0.999, -0.001, 2.341]]), "ties": torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 127.0]]),
             "rows": grid(5, 33).float(), "zeros": torch.cat([torch.zeros(1, 8), torch.ones(1, 8)])}
    for name, x in given.items():
        codes, stats, _ = F.int8_vectorwise_quant(x)
        out = F.int8_vectorwise_dequant(codes, stats)
        cases.append(case(name, inputs={"x": x}, outputs={"codes": codes.int(), "absmax": stats, "dequantized": out}))
    write_row(58, "quant-int8", "bitsandbytes.functional.int8_vectorwise_quant and int8_vectorwise_dequant, CPU", S, cases,
              {"zeros": "the codes of a row of zeros are undefined there (0/0)"})


def int8_ties():
    """Rows of multiples of 1/64 up to a largest one of 1, 2, ... 400 of them: many shares lie at a half, and the way in which 127 / absmax is rounded decides their codes."""
    cases = []
    for first in range(1, 401, 100):
        x = torch.tensor([[sign * min(k, top) / 64 for k in range(401) for sign in (1, -1)] for top in range(first, first + 100)], dtype=torch.float32)
        codes, stats, _ = F.int8_vectorwise_quant(x.half())
        cases.append(case(f"up to {first}/64 and more", attrs={"first": first, "rows": 100, "top": 400},
                          outputs={"codes": digest(codes.flatten()), "absmax": digest(stats)}))
    write_row(58, "quant-int8-ties", "bitsandbytes.functional.int8_vectorwise_quant of float16, CPU: SHA-256 of codes and of scales", E, cases,
              {"x": "x[i][2 k] = min(k, first + i) / 64, x[i][2 k + 1] = -x[i][2 k], k = 0 ... top"})


def drawn(shape, seed):
    """Sums of four uniform numbers, by a generator that the tests have too: exact in float32, so nothing of it is stored."""
    rows, columns = shape
    state, values = seed, []
    for _ in range(rows * columns):
        total = 0
        for _ in range(4):
            state = (1664525 * state + 1013904223) % 2**32
            total += state >> 12
        values.append((total - 2**21) / 2**25)
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def whole():
    """Whole matrices, as hashes of what bitsandbytes makes of them: ten drawn ones, and those of a trained model."""
    shapes = [(64, 64), (64, 172), (32, 256), (96, 64), (128, 192), (16, 1024), (1, 640), (200, 96), (48, 320), (256, 256)]
    given = [(f"drawn {i}", drawn(shape, i), {"shape": list(shape), "seed": i}) for i, shape in enumerate(shapes)]
    stories = load_file(SHARED / "models" / "stories260k" / "model.safetensors")
    given += [(name, x.float(), {"stories260k": name}) for name, x in sorted(stories.items()) if name.endswith("proj.weight")]
    cases = []
    for name, x, attrs in given:
        for kind in ("nf4", "fp4"):
            codes, state = F.quantize_4bit(x, blocksize=64, quant_type=kind)
            # Block by block: of rows that are no whole blocks the CPU library gives back some with the scale of a neighbour.
            error = (x.flatten() - shares(codes, state, x.numel())).double().square().mean().sqrt()
            cases.append(case(f"{name} {kind}", attrs={**attrs, "type": kind},
                              outputs={"codes": digest(codes.flatten()), "absmax": digest(state.absmax), "error": error.item()}))
    write_row(59, "quant-whole", "bitsandbytes.functional.quantize_4bit, CPU: SHA-256 of codes and of absmax, root mean square error", E, cases,
              {"error": "1e-6 relative", "stories260k": "weights that are not in the repository: without them those cases are skipped"})


def shares(codes, state, size):
    flat = codes.flatten().int()
    each = torch.stack([flat >> 4, flat & 15], dim=1).flatten()[:size]
    return state.code[each.long()] * state.absmax.repeat_interleave(state.blocksize)[:size]


def main():
    maps()
    whole()
    four_bit()
    double()
    int8()
    int8_ties()
