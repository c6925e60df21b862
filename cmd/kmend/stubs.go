package main

type diagnoseCmd struct{}
