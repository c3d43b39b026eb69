"""From a graph to a C project: memory plan, C emission, project skeleton."""
