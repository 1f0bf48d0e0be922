"""Generators of published architecture families: encoding -> weight-free graph, BN folded."""
