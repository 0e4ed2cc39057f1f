"""Whether somebody may do something: one file an authorizer. They decide; nothing here writes."""
