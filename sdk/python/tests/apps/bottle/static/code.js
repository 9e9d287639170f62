hello = 1;
