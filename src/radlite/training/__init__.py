"""Fine-tuning: torch, transformers and peft live here (`pip install radlite[train]`)."""
