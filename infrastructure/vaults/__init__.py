"""Adapters of the `SecretVault`: one module a kind of vault; `bootstrap.open_vault` picks one by the settings."""
