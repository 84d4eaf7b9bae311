"""What a spec may say, for people and for editors: a reference in Markdown, and a JSON Schema."""
