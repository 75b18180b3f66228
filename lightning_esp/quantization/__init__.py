"""The only caller of esp-ppq."""
