exec tsc --strict --skipLibCheck --target es2022 --lib es2022,dom --module commonjs main.ts
