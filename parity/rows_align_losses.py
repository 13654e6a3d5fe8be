"""Rows 65-70, 74, 76, 77, 79-83: losses of the preference family, by TRL's own methods on given log-probabilities."""

from collections import defaultdict
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.experimental.orpo.orpo_trainer import log1mexp
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_trainer import RewardTrainer

from common import S, case, grid, seed, tensors, write_row

FLOAT32 = {"abs": 1e-6, "rel": 1e-5}  # where TRL insists on float32

ACCELERATOR = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)


@contextmanager
def doubles():
    """Constants that TRL makes of Python numbers become float64, too."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


class Stub(torch.nn.Module):
    """A model whose outputs are given: per-token log-probabilities and what goes with them."""

    is_gradient_checkpointing = False

    def __init__(self, log_probs, concentration):
        super().__init__()
        self.log_probs, self.concentration = log_probs, concentration

    def forward(self, **_):
        zeros = torch.zeros_like(self.log_probs)
        return SimpleNamespace(log_probs=self.log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(),
                               log_sum_sq_probs=self.concentration)


def masked(lengths, first=2):
    """completion_mask [N, T] with answers that start at `first`, and log-probabilities [N, T - 1] that are 0 outside."""
    width = first + max(lengths)
    mask = torch.tensor([[0] * first + [1] * n + [0] * (width - first - n) for n in lengths])
    return mask, mask[:, 1:].double()


# the answers of five pairs: chosen, then rejected
LENGTHS = [4, 2, 7, 5, 1, 5, 3, 7, 2, 6]


def batch(which):
    """Per-token log-probabilities of policy and reference [2B, T-1], completion_mask [2B, T], log sum p^2."""
    if which == "row65":  # the sums of REFERENCE rows: -10, -12; reference -11, -11.5; lengths 4 and 5
        mask, own = masked([4, 5])
        spread = lambda total: own * torch.tensor(total).double()[:, None] / own.sum(1, keepdim=True)
        return spread([-10.0, -12.0]), spread([-11.0, -11.5]), mask, -own
    seed(65)
    mask, own = masked(LENGTHS)
    scale = {"random": 1.0, "far": 12.0, "equal": 1.0}[which]
    policy = -grid(*own.shape, scale=scale).abs() * own
    reference = policy.clone() if which == "equal" else -grid(*own.shape, scale=scale).abs() * own
    return policy, reference, mask, -grid(*own.shape).abs() * own


def dpo_case(name, which, loss_types=("sigmoid",), loss_weights=None, beta=0.1, label_smoothing=0.0, tau=0.05, divergence="reverse_kl",
             alpha=0.5, ld_alpha=None, use_weighting=False, dtype=torch.float64):
    policy, reference, mask, concentration = [t.to(dtype) if t.is_floating_point() else t for t in batch(which)]
    leaf = policy.clone().requires_grad_(True)
    model, ref_model = Stub(log_probs=leaf, concentration=concentration), Stub(log_probs=reference, concentration=concentration)
    me = SimpleNamespace(
        model=model, ref_model=ref_model, accelerator=ACCELERATOR, aux_loss_enabled=False, precompute_ref_logps=False, _total_train_tokens=0,
        _tp_size=1, _metrics={"train": defaultdict(list)}, beta=beta, loss_types=list(loss_types), loss_weights=list(loss_weights or [1.0] * len(loss_types)),
        label_smoothing=label_smoothing, ld_alpha=ld_alpha, f_divergence_type=divergence, f_alpha_divergence_coef=alpha, use_weighting=use_weighting,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=tau))
    ids = torch.ones_like(mask)
    with doubles() if dtype == torch.float64 else torch.enable_grad():
        loss = DPOTrainer._compute_loss(me, model, {"input_ids": ids, "attention_mask": ids, "completion_mask": mask}, False)
        (grad,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    logged = me._metrics["train"]
    attrs = {"lossType": list(loss_types), "lossWeights": loss_weights, "beta": beta, "labelSmoothing": label_smoothing, "discopopTau": tau,
             "fDivergenceType": divergence, "fAlphaDivergenceCoef": alpha, "ldAlpha": ld_alpha, "useWeighting": use_weighting}
    outputs = {"loss": loss} | {key: logged[f"rewards/{key}"][0] for key in ("chosen", "rejected", "accuracies", "margins")}
    return case(f"{name}/{which}", attrs={"batch": which, **attrs}, outputs=outputs, grads={"policy": torch.zeros_like(policy) if grad is None else grad},
                **({} if dtype == torch.float64 else {"tolerance": FLOAT32}))


def batches(*names):
    return {which: tensors(**dict(zip(("policy", "reference", "mask", "concentration"), batch(which)))) for which in names}


PAIRS = {
    "batch": "which of `batches` is the input",
    "shapes": "policy, reference [2B, T-1]: log p of each token, 0 outside of answers; mask [2B, T] unshifted; chosen rows, then rejected ones",
    "loss": "mean over the pairs; chosen, rejected, accuracies, margins as TRL logs rewards",
    "grads": "of that mean by the policy's log-probabilities",
}


def pair_rows():
    smoothed = {"robust", "exo_pair", "aot", "aot_unpaired"}
    names = ["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
             "discopop", "sft", "sigmoid_norm"]
    cases = [dpo_case(name, which, [name], label_smoothing=0.1 if name in smoothed else 0.0) for name in names for which in ("row65", "random", "far", "equal")]
    cases += [
        dpo_case("sigmoid-beta-2", "random", ["sigmoid"], beta=2.0),
        dpo_case("aot-plain", "random", ["aot"]),
        dpo_case("robust-plain", "random", ["robust"]),
        dpo_case("exo-0.001", "random", ["exo_pair"], label_smoothing=1e-3),
        dpo_case("discopop-tau-1", "random", ["discopop"], tau=1.0),
        dpo_case("mpo", "random", ["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 1.0]),
        dpo_case("two-equal", "random", ["apo_zero", "sft"]),
    ]
    write_row(65, "pair-losses", "losses of DPOTrainer", S, cases, PAIRS, computed="float64", batches=batches("row65", "random", "far", "equal"))

    cases = []
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        dtype = torch.float32 if divergence == "alpha_divergence" else torch.float64
        for name in ("sigmoid", "hinge", "ipo", "exo_pair", "robust", "discopop", "sigmoid_norm"):
            smoothing = 0.1 if name in smoothed else 0.0
            cases.append(dpo_case(f"{divergence}-{name}", "random", [name], divergence=divergence, label_smoothing=smoothing, dtype=dtype))
    cases += [
        dpo_case("alpha-0.999", "random", divergence="alpha_divergence", alpha=0.999, dtype=torch.float32),
        dpo_case("alpha-1", "random", divergence="alpha_divergence", alpha=1.0),
        dpo_case("alpha-2", "random", divergence="alpha_divergence", alpha=2.0, dtype=torch.float32),
        dpo_case("js-far", "far", divergence="js_divergence"),
        *[dpo_case(f"wpo-{name}", "random", [name], use_weighting=True) for name in ("sigmoid", "ipo", "apo_zero")],
        dpo_case("wpo-list", "random", ["sigmoid", "ipo"], [0.5, 2.0], use_weighting=True),
        *[dpo_case(f"ld-{alpha}", which, ld_alpha=alpha) for alpha in (0.0, 0.4, 1.0) for which in ("row65", "random")],
        dpo_case("ld-ipo-sft", "random", ["ipo", "sft"], [1.0, 0.3], ld_alpha=0.4),
        dpo_case("ld-wpo", "random", ld_alpha=0.4, use_weighting=True),
    ]
    write_row(70, "divergences", "f-divergences, weights of WPO, LD-DPO", S, cases,
              {**PAIRS, "alpha_divergence": "float32, as TRL insists; other cases float64"}, batches=batches("row65", "random", "far"))


def kto_case(name, log_ratios, labels, kl, loss_type="kto", beta=0.1, weights=(1.0, 1.0)):
    log_ratios, kl = torch.tensor(log_ratios).double(), torch.tensor(kl).double()
    leaf = log_ratios[:, None].clone().requires_grad_(True)
    mask = torch.ones(len(labels), 2, dtype=torch.int64)
    zeros = torch.zeros_like(leaf)
    model, ref_model = Stub(log_probs=leaf, concentration=zeros), Stub(log_probs=zeros, concentration=zeros)
    me = SimpleNamespace(
        model=model, ref_model=ref_model, accelerator=ACCELERATOR, aux_loss_enabled=False, precompute_ref_logps=False, _total_train_tokens=0,
        _tp_size=1, _metrics={"train": defaultdict(list)}, beta=beta, loss_type=loss_type, calculate_KL=loss_type == "kto",
        desirable_weight=weights[0], undesirable_weight=weights[1], args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        _compute_kl_logps=lambda which, _: kl if which is model else torch.zeros_like(kl))
    with doubles():
        loss = KTOTrainer._compute_loss(me, model, {"input_ids": mask, "attention_mask": mask, "completion_mask": mask, "label": torch.tensor(labels)}, False)
        (grad,) = torch.autograd.grad(loss, leaf)
    logged = {key: values[0] for key, values in me._metrics["train"].items() if key == "kl" or key.startswith("rewards/")}
    return case(name, inputs={"logRatios": log_ratios, "labels": torch.tensor(labels).double(), "mismatched": kl},
                attrs={"lossType": loss_type, "beta": beta, "desirableWeight": weights[0], "undesirableWeight": weights[1]},
                outputs={"loss": loss, **logged}, grads={"logRatios": grad[:, 0]})


def kto_rows():
    seed(74)
    many, kl = grid(8, scale=3).tolist(), grid(8).tolist()
    labels = [True, False, False, True, True, False, True, False]
    cases = []
    for loss_type in ("kto", "apo_zero_unpaired"):
        cases += [
            kto_case(f"{loss_type}/desirable", [1.0], [True], [0.2], loss_type),
            kto_case(f"{loss_type}/undesirable", [-0.5], [False], [0.2], loss_type),
            kto_case(f"{loss_type}/below-0", [1.0, -0.5], [True, False], [-0.9, 0.2], loss_type),
            kto_case(f"{loss_type}/many", many, labels, kl, loss_type),
            kto_case(f"{loss_type}/weights", many, labels, [abs(k) for k in kl], loss_type, beta=0.5, weights=(1.33, 0.7)),
            kto_case(f"{loss_type}/far", [500.0, -500.0, 500.0, -500.0], [True, True, False, False], [300.0] * 4, loss_type, beta=1.0),
        ]
    write_row(74, "kto", "losses of KTOTrainer", S, cases,
              {"shapes": "logRatios, labels (1 desirable), mismatched [B]", "loss": "mean over the rows; kl and rewards as TRL logs them",
               "grads": "of that mean"})


def odds_rows():
    def odds(name, chosen, rejected):
        """TRL casts to float32: the same method on float64 tensors whose float() is themselves."""
        leaves = [torch.tensor(x).double().requires_grad_(True) for x in (chosen, rejected)]
        double = [SubDouble.of(x) for x in leaves]
        losses, won, lost, ratio, log_odds = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.1, accelerator=ACCELERATOR), *double)
        grads = torch.autograd.grad(losses.sum(), leaves)
        return case(name, inputs={"chosen": leaves[0], "rejected": leaves[1]}, attrs={"beta": 0.1},
                    outputs={"losses": plain(losses), "ratio": plain(ratio), "logOdds": plain(log_odds)}, grads={"chosen": grads[0], "rejected": grads[1]})

    seed(77)
    cases = [
        odds("row77", [-0.5], [-1.0]),
        odds("many", (-grid(6).abs() - 2**-10).tolist(), (-grid(6).abs() - 2**-10).tolist()),
        odds("far", [-1e-4, -30.0, -0.01, -0.6931], [-12.0, -1e-3, -40.0, -0.6932]),
    ]
    write_row(77, "odds-ratio", "the loss of ORPOTrainer", S, cases,
              {"shapes": "chosen, rejected [B]: mean log p of tokens", "losses": "beta log sigmoid(log odds), which TRL subtracts; ratio, logOdds are means"})

    points = torch.tensor([-1e-7, -1e-4, -0.1, -0.6931471, -0.6931472, -0.6931473, -1.0, -5.0, -20.0, -50.0]).double().requires_grad_(True)
    out = log1mexp(points)
    (grad,) = torch.autograd.grad(out.sum(), points)
    write_row(79, "log1mexp", "log(1 - e^x)", {"abs": 1e-9, "rel": 1e-6}, [case("points", inputs={"x": points}, outputs={"y": out}, grads={"x": grad})])


class SubDouble(torch.Tensor):
    """A float64 tensor that stays one where it is asked for float32."""

    @staticmethod
    def of(x):
        return x.as_subclass(SubDouble)

    def float(self):
        return self


def plain(x):
    return x.detach().as_subclass(torch.Tensor)


def cpo_rows():
    def cpo(name, chosen, rejected, loss_type="sigmoid", beta=0.1, label_smoothing=0.0, gamma=0.5, alpha=0.0):
        leaves = [torch.tensor(x).double().requires_grad_(True) for x in (chosen, rejected)]
        me = SimpleNamespace(beta=beta, loss_type=loss_type, label_smoothing=label_smoothing, simpo_gamma=gamma, alpha=alpha, accelerator=ACCELERATOR)
        losses, won, lost = CPOTrainer.cpo_loss(me, *leaves)
        grads = torch.autograd.grad(losses.sum(), leaves)
        return case(name, inputs={"chosen": leaves[0], "rejected": leaves[1]},
                    attrs={"lossType": loss_type, "beta": beta, "labelSmoothing": label_smoothing, "simpoGamma": gamma, "alpha": alpha},
                    outputs={"losses": losses, "chosenRewards": won, "rejectedRewards": lost}, grads={"chosen": grads[0], "rejected": grads[1]})

    seed(80)
    sums = [(-grid(6, scale=9).abs()).tolist() for _ in range(2)]
    means = [(-grid(6).abs() - 2**-10).tolist() for _ in range(2)]
    cases = [cpo("row80", [-10.0], [-12.0]), cpo("row81", [-1.0], [-1.5], "simpo", beta=2.5, gamma=1.375), cpo("row82", [-0.5], [-1.0], "simpo", alpha=0.25)]
    for loss_type in ("sigmoid", "hinge", "ipo", "simpo"):
        own = means if loss_type in ("ipo", "simpo") else sums
        cases += [cpo(f"{loss_type}/many", *own, loss_type), cpo(f"{loss_type}/beta-2", *own, loss_type, beta=2.0, label_smoothing=0.2),
                  cpo(f"{loss_type}/alpha", *means, loss_type, alpha=0.25, beta=2.0), cpo(f"{loss_type}/alpha-below-0", *means, loss_type, alpha=-0.1)]
    cases.append(cpo("far", [-1e-3, -600.0], [-600.0, -1e-3], beta=1.0))
    write_row(80, "cpo", "losses of CPOTrainer: CPO, SimPO, AlphaPO", S, cases,
              {"shapes": "chosen, rejected [B]: log p of answers, sums (sigmoid, hinge) or means over tokens (ipo, simpo)", "grads": "of the sum of losses"})


def reward_rows():
    def bradley_terry(name, chosen, rejected, margin=None, centre=None):
        leaf = torch.tensor([*chosen, *rejected]).double()[:, None].requires_grad_(True)
        model = lambda **_: SimpleNamespace(logits=leaf)
        me = SimpleNamespace(model=SimpleNamespace(training=True), args=SimpleNamespace(center_rewards_coefficient=centre), accelerator=ACCELERATOR,
                             _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1)
        inputs = {"attention_mask": torch.ones(len(leaf), 3, dtype=torch.int64)}
        if margin is not None:
            inputs["margin"] = torch.tensor(margin).double()
        loss = RewardTrainer.compute_loss(me, model, inputs)
        (grad,) = torch.autograd.grad(loss, leaf)
        logged = {key: values[0] for key, values in me._metrics["train"].items() if key != "num_tokens"}
        return case(name, inputs={"chosen": torch.tensor(chosen).double(), "rejected": torch.tensor(rejected).double(),
                                  "margins": None if margin is None else torch.tensor(margin).double()},
                    attrs={"centerRewardsCoefficient": centre}, outputs={"loss": loss, **logged},
                    grads={"chosen": grad[: len(chosen), 0], "rejected": grad[len(chosen) :, 0]})

    seed(83)
    many = [grid(5, scale=3).tolist() for _ in range(2)]
    cases = [
        bradley_terry("row83", [1.2], [0.3]), bradley_terry("row83-margin", [1.2], [0.3], margin=[0.5]), bradley_terry("row83-centre", [1.2], [0.3], centre=0.01),
        bradley_terry("many", *many), bradley_terry("many-margin-centre", *many, margin=[0.0, 1.0, 0.25, 3.0, 0.5], centre=0.1),
        bradley_terry("far", [400.0, -400.0], [-400.0, 400.0], centre=0.01),
    ]
    write_row(83, "bradley-terry", "the loss of RewardTrainer", S, cases, {"shapes": "chosen, rejected, margins [B]", "loss": "mean over pairs", "grads": "of that mean"})


def main():
    pair_rows()
    kto_rows()
    odds_rows()
    cpo_rows()
    reward_rows()
