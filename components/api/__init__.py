"""What is said: kinds, objects, schemas, selectors, patches, errors. Pure, no I/O."""
