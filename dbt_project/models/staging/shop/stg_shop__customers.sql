{{ cleaned_customers(where="true") }}
