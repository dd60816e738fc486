"""WHAT IS LOADED: Features, Backbone, stages, weights, heads, fusion."""
