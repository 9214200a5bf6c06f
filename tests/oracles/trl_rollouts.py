"""TRL's GRPOTrainer and RLOOTrainer on responses and rewards that are given instead of sampled."""

import torch
from datasets import Dataset
from training import text, word_tokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

# What every scripted trainer is told: each step is logged, and nothing is saved, sent or sped up.
ALONE = {
    "logging_steps": 1,
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
}
TRAINERS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}


def place_by_mask(model):
    """TRL pads prompts on the left and leaves positions to the model, but GPT-2 counts the padding: its first token
    would not stand at 0."""

    def positions(module, args, kwargs):
        if kwargs.get("position_ids") is None and kwargs.get("attention_mask") is not None:
            kwargs["position_ids"] = (kwargs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return args, kwargs

    model.transformer.register_forward_pre_hook(positions, with_kwargs=True)


def adamw(options):
    """A trainer's arguments for an oracle's options."""
    return {
        "learning_rate": options["lr"],
        "lr_scheduler_type": "constant",
        "adam_beta1": options["beta1"],
        "adam_beta2": options["beta2"],
        "adam_epsilon": options["epsilon"],
        "weight_decay": options["weightDecay"],
        "max_grad_norm": options["maxGradNorm"],
    }


def draws(seed, vocabulary, end):
    """Functions that draw an integer, ids, and a response: up to 6 ids and the end token, or 8 ids that were cut."""
    generator = torch.Generator().manual_seed(seed)
    integer = lambda low, high: torch.randint(low, high, (1,), generator=generator).item()
    ids = lambda length: torch.randint(1, vocabulary, (length,), generator=generator).tolist()
    response = lambda: ids(integer(0, 7)) + [end] if integer(0, 3) > 0 else ids(8)
    return integer, ids, response


def scripted_trainer(kind, folder, prompts, script, vocabulary, generations, rewards=("reward",), **options):
    """
    `folder` holds the model, which is the reference, too. Each call of `script` gives a rollout: rows with promptIds,
    responseIds and rewards of these names, group after group. Prompts come in their order.
    """
    trainer_class, config_class = TRAINERS[kind]
    rollout = []

    def next_rollout(*_):
        rollout[:] = script()
        return [row["responseIds"] for row in rollout]

    def reward_of(name):
        def reward(completions, **_):
            return [row[name] for row in rollout]

        reward.__name__ = name
        return reward

    arguments = config_class(
        output_dir=f"{folder}/run",
        model_init_kwargs={"attn_implementation": "eager"},
        num_generations=generations,
        shuffle_dataset=False,
        **ALONE,
        **options,
    )
    data = Dataset.from_list([{"prompt": text(prompt)} for prompt in prompts])
    trainer = trainer_class(
        model=folder,
        reward_funcs=[reward_of(name) for name in rewards],
        args=arguments,
        train_dataset=data,
        processing_class=word_tokenizer(vocabulary),
    )
    for model in (trainer.model, trainer.ref_model):
        if model is not None:
            place_by_mask(model)
    trainer._generate_single_turn = (lambda *_: (next_rollout(), None)) if kind == "grpo" else next_rollout
    return trainer


def batch_inputs(rows, **per_row):
    """What a trainer's loss is called with; `per_row` holds a tensor for each row, of its tokens or without
    dimensions."""

    def padded(values, left=False):
        longest = max(map(len, values))
        zeros = [value.new_zeros(longest - len(value)) for value in values]
        return torch.stack([torch.cat([zero, value] if left else [value, zero]) for value, zero in zip(values, zeros)])

    prompts, responses = ([torch.tensor(row[key]) for row in rows] for key in ("promptIds", "responseIds"))
    return {
        "prompt_ids": padded(prompts, left=True),
        "prompt_mask": padded([torch.ones_like(ids) for ids in prompts], left=True),
        "completion_ids": padded(responses),
        "completion_mask": padded([torch.ones_like(ids) for ids in responses]),
        **{key: padded(values) if values[0].dim() else torch.stack(values) for key, values in per_row.items()},
    }
