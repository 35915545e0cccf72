"""Training of language models: mid-training on packed documents, then supervised fine-tuning."""
