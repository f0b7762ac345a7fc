"""Pictures of label maps, instances and validation panels."""
