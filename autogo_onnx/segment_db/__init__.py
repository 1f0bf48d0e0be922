"""The segment database: vocabulary, mining, store, and the NAS families it is mined from."""
