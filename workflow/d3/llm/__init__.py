"""Questions to language models: prompts as token ids, engines behind one interface, answers kept in a journal."""
