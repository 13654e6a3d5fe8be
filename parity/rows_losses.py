"""Rows 1-7: causal LM cross-entropy, selective log-softmax, entropy, chunked cross-entropy, forms of the loss."""

import torch
import torch.nn.functional as F
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_pt_utils import LabelSmoother
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from common import E, G, S, case, grid, seed, write_row

SHIFT = "labels [B,T] are unshifted: logits[:, t] predicts labels[:, t+1]; -100 is ignored; the last position predicts nothing"


def causal(name, logits, labels, **kw):
    """ForCausalLMLoss upcasts to float32; the float64 values come from the same formula without that cast."""
    leaf = logits.float().requires_grad_(True)
    loss = ForCausalLMLoss(leaf, labels, logits.shape[-1], **kw)
    (grad,) = torch.autograd.grad(loss, leaf)
    exact_leaf = logits.clone().requires_grad_(True)
    shifted = labels[:, 1:].reshape(-1)
    total = F.cross_entropy(exact_leaf[:, :-1].reshape(-1, logits.shape[-1]), shifted, ignore_index=-100, reduction="sum")
    divisor = kw.get("num_items_in_batch", int((shifted != -100).sum()))
    exact = total / divisor
    (exact_grad,) = torch.autograd.grad(exact, exact_leaf)
    assert torch.allclose(exact.float(), loss, rtol=1e-5, equal_nan=True)
    attrs = {"validShiftedLabels": int((shifted != -100).sum()), "validUnshiftedLabels": int((labels != -100).sum()), "numItems": kw.get("num_items_in_batch")}
    return case(name, inputs={"logits": logits, "labels": labels}, attrs=attrs,
                outputs={"loss": loss, "lossFloat64": exact}, grads={"logits": exact_grad, "logitsFloat32": grad})


def cross_entropy_rows():
    seed(1)
    logits = grid(1, 4, 5)
    labels = torch.tensor([[2, -100, 4, 1]])
    wide = grid(2, 6, 11, scale=4)
    wide_labels = torch.tensor([[7, -100, -100, 4, 10, 0], [-100, 3, 3, -100, -100, -100]])
    plain = [
        causal("masked-middle", logits, labels),
        causal("no-mask", logits, torch.tensor([[2, 0, 4, 1]])),
        causal("first-masked", logits, torch.tensor([[-100, -100, 4, 1]])),
        causal("only-last", logits, torch.tensor([[-100, -100, -100, 1]])),
        causal("two-rows", wide, wide_labels),
        causal("large-logits", wide * 25, wide_labels),
    ]
    write_row(1, "cross-entropy", "causal LM cross-entropy with shift and ignore", S, plain,
              {"labels": SHIFT, "loss": "mean over valid shifted labels", "grads": "logits: float64; logitsFloat32: as torch float32 gives"})

    items = [
        causal("numItems-7", logits, labels, num_items_in_batch=7),
        causal("numItems-7-two-rows", wide, wide_labels, num_items_in_batch=7),
        causal("numItems-1", logits, labels, num_items_in_batch=1),
    ]
    write_row(2, "cross-entropy-num-items", "cross-entropy divided by num_items_in_batch", S, items,
              {"labels": SHIFT, "loss": "sum over valid shifted labels / numItems"})

    none = torch.full((1, 4), -100)
    first_only = torch.tensor([[3, -100, -100, -100]])
    empty = [
        case(name, inputs={"logits": logits, "labels": lab}, outputs={"torchLoss": ForCausalLMLoss(logits.float(), lab, 5)},
             attrs={"ours": "typed error, not NaN"})
        for name, lab in [("all-ignored", none), ("only-position-0-labelled", first_only)]
    ]
    write_row(3, "cross-entropy-empty", "no valid label: torch gives NaN, ours must throw", E, empty, {"labels": SHIFT})


def token_rows():
    seed(4)
    cases = []
    for scale in (1, 8):
        logits, index = grid(2, 3, 7, scale=scale), torch.randint(0, 7, (2, 3))
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            x = logits.to(dtype)
            tol = {"abs": 0.03 if scale == 1 else 0.13, "rel": 0.01} if dtype == torch.bfloat16 else S
            cases.append(case(f"{str(dtype)[6:]}-scale{scale}", inputs={"logits": x, "index": index}, tolerance=tol,
                              outputs={"logps": selective_log_softmax(x, index)}))
    write_row(4, "selective-log-softmax", "log-softmax at given ids", S, cases,
              {"shapes": "logits [B,T,V], index [B,T] -> logps [B,T]", "bfloat16": "torch takes log_softmax in bfloat16 and rounds the result to it; tolerance of its own: a float32 computation from the same bf16 logits lies within it"})

    seed(5)
    cases = []
    for name, logits in [("scale1", grid(2, 3, 7)), ("scale8", grid(2, 3, 7, scale=8)), ("uniform", torch.zeros(1, 2, 5).double()), ("one-hot", torch.tensor([[[90.0, 0, 0]]]).double())]:
        leaf = logits.clone().requires_grad_(True)
        out = entropy_from_logits(leaf)
        (grad,) = torch.autograd.grad(out.sum(), leaf)
        cases.append(case(name, inputs={"logits": logits}, outputs={"entropy": out}, grads={"logits": grad}))
    write_row(5, "entropy", "entropy of softmax(logits), nats", {"abs": 1e-9, "rel": 1e-6}, cases, {"grads": "of the sum of entropies; float64"})


def chunked(hidden, weight, labels, chunks):
    """Mean cross-entropy of hidden @ weight.T, one slice of rows at a time: sum of slice sums / valid labels."""
    total = sum(F.cross_entropy(h @ weight.T, y, ignore_index=-100, reduction="sum") for h, y in zip(hidden.chunk(chunks), labels.chunk(chunks)))
    return total / (labels != -100).sum()


def chunk_row():
    seed(6)
    hidden, weight = grid(6, 8), grid(33, 8)
    cases = []
    for name, labels in [("all-valid", torch.tensor([0, 32, 5, 5, 17, 1])), ("with-ignored-chunk", torch.tensor([4, -100, -100, -100, 31, 0]))]:
        h, w = hidden.clone().requires_grad_(True), weight.clone().requires_grad_(True)
        full = F.cross_entropy(h @ w.T, labels, ignore_index=-100)
        dh, dw = torch.autograd.grad(full, (h, w))
        for n in (1, 2, 6):
            got = torch.autograd.grad(chunked(h, w, labels, n), (h, w))
            assert torch.allclose(got[0], dh, atol=1e-12) and torch.allclose(got[1], dw, atol=1e-12)
        cases.append(case(name, inputs={"hidden": hidden, "weight": weight, "labels": labels}, attrs={"chunks": [1, 2, 6]},
                          outputs={"loss": full}, grads={"hidden": dh, "weight": dw}))
    write_row(6, "chunked-cross-entropy", "chunked linear + cross-entropy equals the full one", G, cases,
              {"shapes": "hidden [N,D], weight [V,D] (lm_head layout), labels [N] already aligned: no shift here", "loss": "mean over labels that are not -100; every chunk count gives the same numbers", "computed": "float64"})


def form_rows():
    """Dynamic fine-tuning as TRL's SFTTrainer computes it, label smoothing as transformers' LabelSmoother, capped logits as Gemma 2."""
    seed(7)
    cases = []
    for size, logits, labels in [("small", grid(1, 4, 5), torch.tensor([[2, -100, 4, 1]])), ("wide", grid(2, 5, 33, scale=3), torch.randint(0, 33, (2, 5))), ("far", grid(1, 3, 9, scale=40), torch.tensor([[0, 8, 3]]))]:
        if size == "wide":
            labels[0, 2] = labels[1, 4] = -100

        def add(name, attrs, loss_of):
            leaf = logits.clone().requires_grad_(True)
            loss = loss_of(leaf)
            (grad,) = torch.autograd.grad(loss, leaf)
            cases.append(case(f"{name}/{size}", inputs={"logits": logits, "labels": labels}, attrs={**attrs, "numItems": 7}, outputs={"loss": loss}, grads={"logits": grad}))

        def dft(x):
            valid = labels[:, 1:] != -100
            logps = selective_log_softmax(x[:, :-1], labels[:, 1:].clamp(min=0))
            return (-logps * logps.exp().detach() * valid).sum() / 7

        def smoothed(factor, cap=None):
            def loss(x):
                x = cap * torch.tanh(x / cap) if cap else x
                return LabelSmoother(epsilon=factor)({"logits": x}, labels, shift_labels=True, num_items_in_batch=7)
            return loss

        def capped(x):
            x = 2.5 * torch.tanh(x / 2.5)
            return F.cross_entropy(x[:, :-1].reshape(-1, x.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum") / 7

        add("dft", {"dft": True}, dft)
        add("smoothing-0.1", {"smoothing": 0.1}, smoothed(0.1))
        add("smoothing-0.5", {"smoothing": 0.5}, smoothed(0.5))
        add("softcap-2.5", {"softcap": 2.5}, capped)
        add("softcap-30-smoothing-0.2", {"softcap": 30, "smoothing": 0.2}, smoothed(0.2, 30))
    write_row(7, "loss-forms", "dynamic fine-tuning, label smoothing, capped logits", S, cases,
              {"labels": SHIFT, "loss": "sum over valid shifted labels / numItems", "computed": "float64, but the smoothed sum of LabelSmoother, which is float32"})


def main():
    form_rows()
    cross_entropy_rows()
    token_rows()
    chunk_row()
