exec rustc --edition 2021 -O -o main main.rs
