"""What tests share: builders of inputs and of fake runs, tiny models, servers, and ways to run the real thing."""
