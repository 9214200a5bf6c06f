"""Makes tests/fixtures/kto.json: 20 steps of TRL's own KTOTrainer, on a model of tests/fixtures/engine.

    python tests/oracles/kto.py

Everything in float32 on one thread, on fixed rows in a fixed order, with unequal weights and labels. TRL forms the
mismatched pairs of a batch as trainKto does: each prompt with the completion of the row before it in the batch.
"""

import json
import os
import tempfile

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from training import IN_ORDER, OUT, ids, logits_after, model_of, text, word_tokenizer
from trl import KTOConfig, KTOTrainer

STEPS, BATCH, VOCABULARY = 20, 6, 23
OPTIONS = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.8}
NAMES = {
    "loss": "loss",
    "gradNorm": "grad_norm",
    "lr": "learning_rate",
    "kl": "kl",
    "entropy": "entropy",
    "chosen": "rewards/chosen",
    "rejected": "rewards/rejected",
    "margins": "rewards/margins",
    "logpsChosen": "logps/chosen",
    "logpsRejected": "logps/rejected",
}


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(31)
    rows = [
        {
            "promptIds": ids(generator, VOCABULARY, 2 + n % 4),
            "responseIds": ids(generator, VOCABULARY, 1 + n % 5) + [0],
            # two thirds desirable; the third batch has only desirable rows, the fourth only undesirable ones
            "desirable": True if n // BATCH == 2 else False if n // BATCH == 3 else n % 3 != 1,
        }
        for n in range(STEPS * BATCH)
    ]
    data = Dataset.from_list(
        [
            {
                "prompt": text(row["promptIds"]),
                "completion": " " + text(row["responseIds"][:-1]),
                "label": row["desirable"],
            }
            for row in rows
        ]
    )
    model = model_of("one-head")
    with tempfile.TemporaryDirectory() as folder:
        arguments = KTOConfig(
            output_dir=folder,
            **IN_ORDER,
            **OPTIONS,
            per_device_train_batch_size=BATCH,
            max_steps=STEPS,
            learning_rate=1e-2,
            lr_scheduler_type="linear",
            warmup_steps=3,
            weight_decay=0.01,
            adam_epsilon=1e-4,
            max_grad_norm=1.0,
        )
        trainer = KTOTrainer(
            model=model,
            ref_model=model_of("one-head"),
            args=arguments,
            train_dataset=data,
            processing_class=word_tokenizer(VOCABULARY),
        )
        trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    steps = [{ours: entry[theirs] for ours, theirs in NAMES.items() if theirs in entry} for entry in history]
    assert any(step["kl"] > 0.01 for step in steps) and "chosen" not in steps[3] and "rejected" not in steps[2]
    made = {
        "rows": rows,
        "batchSize": BATCH,
        **OPTIONS,
        "steps": steps,
        "last": logits_after(model, rows[0]["promptIds"]),
    }
    (OUT / "fixtures" / "kto.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
