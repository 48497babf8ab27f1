"""What several tests share: clusters, fixtures and fakes."""
