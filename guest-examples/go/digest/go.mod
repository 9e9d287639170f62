module digest

go 1.22
