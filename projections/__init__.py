"""What one can see: one file a read model, each a pure fold from events to rows."""
