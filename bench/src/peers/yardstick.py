"""What this machine can do at best: PyTorch's (or NumPy's) time for the same work.

Reads one JSON object a line, answers with one. {"op": "matmul", ...} prepares, {"op": "run"} runs
once and answers {"ms"}. PyTorch takes a CUDA device where it finds one.
"""

import json
import os
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    torch = None
    import numpy

device = "cuda" if torch and torch.cuda.is_available() else "cpu"


def hello():
    if torch:
        return {
            "name": f"torch-{device}",
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
        }
    return {"name": "numpy", "version": numpy.__version__, "threads": os.cpu_count()}


def matmul(layout, m, n, k, inner):
    """C [m, n] from A and B as our `layout` stores them, `inner` times."""
    a_shape = (k, m) if layout == "TN" else (m, k)
    b_shape = (n, k) if layout == "NT" else (k, n)
    if torch:
        a, b = torch.randn(a_shape, device=device), torch.randn(b_shape, device=device)
        multiply = torch.matmul
    else:
        a = numpy.random.rand(*a_shape).astype(numpy.float32)
        b = numpy.random.rand(*b_shape).astype(numpy.float32)
        multiply = numpy.matmul
    left = a.T if layout == "TN" else a
    right = b.T if layout == "NT" else b

    def run():
        for _ in range(inner):
            multiply(left, right)

    return run


def train_step(config, batch_size, length, lora_rank, bf16):
    """One AdamW step of a Llama of these sizes; lora_rank 0 trains everything."""
    if not torch:
        raise RuntimeError("a training step needs PyTorch; this Python has NumPy alone.")
    torch.manual_seed(0)
    base_dtype = torch.bfloat16 if bf16 else torch.float32
    model = Decoder(config, length, lora_rank).to(device)
    if lora_rank:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = ".lora_" in name
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(base_dtype)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    vocab = config["vocab_size"]
    x = torch.randint(0, vocab, (batch_size, length), device=device)
    y = torch.randint(0, vocab, (batch_size, length), device=device)

    def run():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(x).view(-1, vocab).float(), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return run


def generate(config, batch_size, length, new, options):
    """The `generate` of transformers for a Llama of these sizes; no token ends a row."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**config)).to(device).eval()
    model.generation_config.eos_token_id = None
    names = {"doSample": "do_sample", "topK": "top_k", "topP": "top_p", "minP": "min_p"}
    settings = {names.get(key, key): value for key, value in options.items()}
    ids = torch.randint(3, config["vocab_size"], (batch_size, length), device=device)

    def run():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            pad_token_id=0,
            **settings,
        )
        assert out.shape == (batch_size, length + new)

    return run


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


if torch:

    class Norm(nn.Module):
        def __init__(self, width, eps):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight

    class Linear(nn.Module):
        """y = x W^T (+ b) (+ 2 (x A^T) B^T)"""

        def __init__(self, inputs, outputs, bias, rank):
            super().__init__()
            self.base = nn.Linear(inputs, outputs, bias=bias)
            self.rank = rank
            if rank:
                self.lora_a = nn.Parameter(torch.randn(rank, inputs) / rank)
                self.lora_b = nn.Parameter(torch.zeros(outputs, rank))

        def forward(self, x):
            y = self.base(x)
            return y + 2 * F.linear(F.linear(x, self.lora_a), self.lora_b) if self.rank else y

    class Block(nn.Module):
        def __init__(self, c, rank):
            super().__init__()
            width, inner = c["hidden_size"], c["intermediate_size"]
            self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
            self.head = c.get("head_dim") or width // self.heads
            bias = c["model_type"] == "qwen2"
            self.q = Linear(width, self.heads * self.head, bias, rank)
            self.k = Linear(width, self.kv_heads * self.head, bias, rank)
            self.v = Linear(width, self.kv_heads * self.head, bias, rank)
            self.o = Linear(self.heads * self.head, width, False, rank)
            self.gate, self.up = (Linear(width, inner, False, rank) for _ in range(2))
            self.down = Linear(inner, width, False, rank)
            self.norm1, self.norm2 = (Norm(width, c["rms_norm_eps"]) for _ in range(2))

        def forward(self, x, cos, sin, mask):
            b, t, width = x.shape
            h = self.norm1(x)
            q, k, v = (
                linear(h).view(b, t, heads, self.head).transpose(1, 2)
                for linear, heads in (
                    (self.q, self.heads),
                    (self.k, self.kv_heads),
                    (self.v, self.kv_heads),
                )
            )
            q, k = rope(q, cos, sin), rope(k, cos, sin)
            group = self.heads // self.kv_heads
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            if hasattr(F, "scaled_dot_product_attention"):
                a = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
            else:
                a = (q @ k.transpose(-1, -2) * self.head**-0.5 + mask).softmax(-1) @ v
            x = x + self.o(a.transpose(1, 2).reshape(b, t, self.heads * self.head))
            h = self.norm2(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Decoder(nn.Module):
        def __init__(self, c, length, rank):
            super().__init__()
            width = c["hidden_size"]
            head = c.get("head_dim") or width // c["num_attention_heads"]
            self.embed = nn.Embedding(c["vocab_size"], width)
            self.blocks = nn.ModuleList(Block(c, rank) for _ in range(c["num_hidden_layers"]))
            self.norm = Norm(width, c["rms_norm_eps"])
            self.lm_head = nn.Linear(width, c["vocab_size"], bias=False)
            if c["tie_word_embeddings"]:
                self.lm_head.weight = self.embed.weight
            frequencies = 1 / c["rope_theta"] ** (torch.arange(0, head, 2) / head)
            angles = torch.outer(torch.arange(length), frequencies)
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())
            self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

        def forward(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x, self.cos, self.sin, self.mask)
            return self.lm_head(self.norm(x))


prepared = None
operations = {"matmul": matmul, "train_step": train_step, "generate": generate}
for line in sys.stdin:
    question = json.loads(line)
    op = question.pop("op")
    try:
        if op == "hello":
            reply = hello()
        elif op == "run":
            start = time.perf_counter()
            prepared()
            if device == "cuda":
                torch.cuda.synchronize()
            reply = {"ms": 1000 * (time.perf_counter() - start)}
        else:
            prepared = operations[op](**question)
            reply = {"ready": True}
    except Exception as error:  # whatever it is, the bench shall read of it
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
